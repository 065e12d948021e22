"""Indexes of jobs that only operators' lists need."""

from coordinator.core.columns import partial_index, table_of
from coordinator.jobs.models import Job

_jobs = table_of(Job)

partial_index("jobs_failed", _jobs.c.id, where="status = 'failed'")
partial_index("jobs_of_miner", _jobs.c.miner_id, _jobs.c.id, where="miner_id IS NOT NULL")
