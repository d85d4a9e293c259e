"""The commands of `fastrerank`: a module each with NAME, HELP, EXAMPLES, add_arguments and run."""
