"""The audit log as services write it: who changed what, noted durably before the answer leaves."""
