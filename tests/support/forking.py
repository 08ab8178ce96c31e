"""The end of drivers that load what takes long once, and fork a process for each case."""

# Wants `run`, which takes a case, `cases`, whose first entry is the name, and the `folder` for what the
# processes leave: what they wrote, where `run` calls `redirect`, and their exit codes.
FORK_EACH = """
def redirect(name):
    for number, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{folder}/{name}.{stream}", os.O_WRONLY | os.O_CREAT), number)

import warnings
# Python 3.12 and later warn of it where libraries have started threads; the tests look at stderr.
warnings.filterwarnings("ignore", "This process", DeprecationWarning)
for case in cases:
    child = os.fork()
    if not child:
        run(*case)
    _, status = os.waitpid(child, 0)
    with open(f"{folder}/{case[0]}.code", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(status)))
"""
