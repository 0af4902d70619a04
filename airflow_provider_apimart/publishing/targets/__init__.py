"""The places where a video can be posted. Each builds requests and reads answers, and does no I/O."""
