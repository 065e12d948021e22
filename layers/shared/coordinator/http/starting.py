"""What each function imports before all else: the garbage collector waits until the function can serve.

All that is imported stays, so the collector finds nothing, and looking for it takes a twelfth of a cold start.
`lambda_handler`, with which a function's start ends, lets it go on.
"""

import gc

gc.disable()
