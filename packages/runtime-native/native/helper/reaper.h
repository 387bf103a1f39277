/* Pid 1 for programs that were not made to be it. */
#pragma once

/* Runs argv[0] with its arguments to its end; returns the exit status to end with. Never returns in the child. */
int reaper_run(char **argv);
