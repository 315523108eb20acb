"""The paper's tables and its statement on convergence, each re-run by one command."""
