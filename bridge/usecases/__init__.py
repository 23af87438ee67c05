"""What people do with the program: functions (console, parameters, caller) -> answer, one file a subject."""
