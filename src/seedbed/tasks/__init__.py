"""What the command can do, one module a task: each has `run(request)`."""
