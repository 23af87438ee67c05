@echo off
rem Starts the program from a checkout: sets up .venv when it is missing or old, then hands everything on to launcher.py.
rem PYTHON_BIN chooses the Python. Exit codes of the set-up: 20-28, see README.md; all others are the program's.
rem This file is ASCII only: its words stand in assets\messages.
setlocal EnableExtensions DisableDelayedExpansion

set "ibc_root=%~dp0"
set "ibc_lock=%ibc_root%requirements.lock"
set "ibc_own=%ibc_root%.venv"
rem The second place is for a checkout that may not be written to.
set "ibc_cache=%LOCALAPPDATA%\image-batch-console\venv"

call :is_ready "%ibc_own%"
if not errorlevel 1 goto run
call :is_ready "%ibc_cache%"
if not errorlevel 1 goto run
call :find_python
if errorlevel 1 goto failed
%ibc_python% "%ibc_root%scripts\make_venv.py" --lock "%ibc_lock%" --venv "%ibc_own%" --fallback "%ibc_cache%" >nul
set "ibc_code=%errorlevel%"
if not "%ibc_code%"=="0" goto failed
call :is_ready "%ibc_own%"
if not errorlevel 1 goto run
call :is_ready "%ibc_cache%"
if not errorlevel 1 goto run
set "ibc_code=26"

:failed
rem A double click would close the window before anybody has read why.
if "%~1"=="" pause
exit /b %ibc_code%

:run
"%ibc_venv%\Scripts\python.exe" "%ibc_root%launcher.py" %*
exit /b %errorlevel%

rem -- errorlevel 0 when the venv %1 holds what the lock file names; then ibc_venv is set
:is_ready
if not exist "%~1\Scripts\python.exe" exit /b 1
"%~1\Scripts\python.exe" -E "%ibc_root%scripts\make_venv.py" --check --lock "%ibc_lock%" --venv "%~1" >nul 2>nul
if errorlevel 1 exit /b 1
set "ibc_venv=%~1"
exit /b 0

rem -- sets ibc_python, or says what to do and sets ibc_code
:find_python
if not defined PYTHON_BIN goto search
set ibc_python="%PYTHON_BIN%"
call :is_new_enough
if not errorlevel 1 exit /b 0
call :say python_bin
>&2 echo     PYTHON_BIN=%PYTHON_BIN%
set "ibc_code=21"
exit /b 1

:search
for %%p in ("py -3.13" "py -3.12" "py -3.11" "py -3" "python" "python3") do (
    set "ibc_python=%%~p"
    call :is_new_enough
    if not errorlevel 1 exit /b 0
)
call :say no_python
>&2 echo     winget install Python.Python.3.13
set "ibc_code=20"
exit /b 1

:is_new_enough
%ibc_python% -E -S -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul
exit /b %errorlevel%

rem -- the message %1 of the catalogue, in the language of the system
:say
set "ibc_language=en"
set "ibc_find=%SystemRoot%\System32\find.exe"
reg query "HKCU\Control Panel\International" /v LocaleName 2>nul | %ibc_find% "zh-" >nul
if not errorlevel 1 set "ibc_language=zh-CN"
for /f "tokens=2 delims=:." %%c in ('chcp') do set "ibc_page=%%c"
chcp 65001 >nul
rem a line is   "start.name": "text",
set "ibc_text="
for /f "tokens=1,* delims=:" %%a in ('%ibc_find% "start.%~1" ^< "%ibc_root%assets\messages\%ibc_language%\start.json"') do set "ibc_text=%%b"
>&2 echo %ibc_text:~2,-2%
chcp %ibc_page% >nul 2>nul
exit /b 0
