@echo off
rem Builds dist\image-batch-console.exe: see build\onefile.py. PYTHON_BIN chooses the Python, APP_NAME the file's name.
setlocal EnableExtensions
if not defined PYTHON_BIN set "PYTHON_BIN=py"
"%PYTHON_BIN%" "%~dp0onefile.py" window
exit /b %errorlevel%
