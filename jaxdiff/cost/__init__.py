"""The cost of a program before it runs: operations, memory, collectives, time and money."""
