"""What people do with the program: functions (app, parameters, caller) -> answer, one file a subject."""
