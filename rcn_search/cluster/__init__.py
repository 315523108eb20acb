"""Ray as an execution engine: resources, credentials, worker groups and jobs."""
