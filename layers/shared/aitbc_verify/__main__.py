import sys

from aitbc_verify.command import main

sys.exit(main())
