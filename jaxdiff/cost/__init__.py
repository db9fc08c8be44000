"""What a program costs before it runs: operations, memory, what devices send, time and money."""
