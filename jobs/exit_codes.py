"""The exit codes of all verbs; `reelscript --help` says what they mean."""

DONE, DATA_WRONG, USAGE, TOO_MANY_FAILED, BLOCKED, INTERRUPTED = 0, 1, 2, 3, 4, 130
