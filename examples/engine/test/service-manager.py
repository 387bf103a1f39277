"""Starts a daemon as systemd does: a listening socket at descriptor 3, and an ear for what it says of itself.

Usage: service-manager.py SOCKET NOTIFY COMMAND...  Prints a line for every message; ends with the daemon's code.
"""

import os
import socket
import sys
import threading

path, notify_path, *command = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(notify_path)

child = os.fork()
if child == 0:
    if listener.fileno() != 3:
        os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
    os.environ.update(
        LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="api", NOTIFY_SOCKET=notify_path
    )
    os.execvp(command[0], command)


def listen():
    while True:
        print(notify.recv(4096).decode().replace("\n", " "), flush=True)


threading.Thread(target=listen, daemon=True).start()
print(f"started {child}", flush=True)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
