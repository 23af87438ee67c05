"""What people do with the program: handlers (context, parameters) -> answer, one file a subject."""
