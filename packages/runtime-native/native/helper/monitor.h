/*
 * The monitor: the one process that stays beside a container (or an exec'd process) for its life. It holds the other
 * ends of stdio, writes the log, serves clients on a socket, and records how it ended.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "log.h"
#include "message.h"

#define PROTOCOL_VERSION 1u

/* As FRAME_STATUS carries it. */
enum phase { PHASE_CREATING = 1, PHASE_CREATED = 2, PHASE_RUNNING = 3, PHASE_STOPPED = 4 };

/* What an epoll event points to. A client begins with one. */
enum source_kind { SOURCE_LISTENER, SOURCE_SYNC, SOURCE_SIGNAL, SOURCE_OUTPUT, SOURCE_STDIN, SOURCE_PROCESS, SOURCE_CLIENT };
struct source {
	enum source_kind kind;
	int fd;
	/* what epoll watches; 0: not registered */
	uint32_t events;
};

/* Who watches a seccomp filter's notifications: the socket that it listens on, and what it is told. */
struct agent {
	const char *path;
	/* JSON up to the container's pid */
	const char *head;
	/* 0: the process's own */
	uint32_t container;
};

struct monitor {
	int epoll;
	int state;
	int pidfd;
	int oom;
	pid_t pid;
	enum phase phase;
	uint32_t flags;
	/* the process is made by another one, in namespaces that this one is not in */
	bool staged;
	/* descriptors from FURTHER_FD on: the console socket, if there is one, and what becomes 3, 4, … of the process */
	unsigned further;
	uint16_t columns;
	uint16_t rows;
	struct source listener;
	struct source sync;
	struct source signals;
	/* stdout and stderr; of a terminal, its master and nothing */
	struct source outputs[2];
	struct source input;
	/* the pidfd of a process that is somebody else's child */
	struct source process;
	struct agent agent;
	/* the gate was opened; the program could not be executed, and the client that asked has been told */
	bool start_sent;
	bool start_failed;
	/* all output is read, or given up; the exit, and then the end of output, have been told to the clients */
	bool drained;
	bool told;
	bool ended;
	uint32_t exit_code;
	uint32_t exit_signal;
	bool oom_killed;
	uint64_t exit_time;
	uint64_t drain_deadline;
	/* nothing more is sent to anybody */
	bool leaving;
	uint64_t leave_deadline;
};

extern struct monitor the_monitor;

/* After the plan, the client and the state directory. */
#define FURTHER_FD 6

/* monitor.c */
__attribute__((noreturn)) void monitor_run(const struct plan *plan, int client, int state);
void watch(struct source *source, uint32_t events);
void unwatch_and_close(struct source *source);
/* Opens the gate. */
void monitor_start(void);
/* The hooks have run: the process may go on being set up. */
void monitor_proceed(void);
/* A message without waiting for it, and the descriptor that came with it, if any. Errors as recvmsg(2). */
ssize_t receive_fd(int socket, void *data, size_t size, int *fd);
/* The creator left before the container was set up. */
__attribute__((noreturn)) void monitor_abandon(void);

/* birth.c: each dies with a report to the creator */
void detach_from_caller(void);
/* Carries out phase 1 of the plan and makes the process, which goes on by itself to its gate. */
void give_birth(const struct plan *plan, int client);

/* orphan.c: of a process that this one has not to wait for */
void orphan_watch(void);
/* The wait status of the process, which has ended. */
int orphan_status(void);

/* agent.c */
/* Sends the listener of the process's filter to whom the plan names, and closes it; false with errno. */
bool agent_notify(int listener);

/* streams.c */
void streams_read(enum stream stream);
/* Registers or unregisters the outputs, as the clients' queues demand. */
void streams_update(void);
bool streams_open(void);
/* Whether output waits for the first client to attach. */
bool streams_held(void);
void streams_close(void);
/* Bytes that stdin can take now; what is put must fit. */
uint8_t *stdin_space(size_t *room);
void stdin_put(size_t size);
void stdin_flush(void);
/* Closes stdin once everything before is written. */
void stdin_end(void);
bool stdin_is_open(void);

/* clients.c, and requests.c for what clients ask */
void clients_add(int fd, bool creator);
void clients_accept(void);
void clients_ready(struct source *source, uint32_t events);
void clients_output(enum stream stream, const uint8_t *data, size_t size);
void clients_broadcast(uint8_t type, const uint8_t *payload, size_t size);
void clients_status(void);
/* Asks the maker to run the hooks. */
void clients_hooks(void);
/* The answer to the client that asked for the start: errno 0, or a failure as encode_failure makes it. */
void clients_started(const uint8_t *failure, size_t size);
void clients_end_output(void);
void clients_resume_stdin(void);
/* Whether reading has to wait for clients to take what they were sent. */
bool clients_hold_back(void);
/* Drops clients that hold others back; frees the dead. Milliseconds until it wants to be called again, or -1. */
int clients_sweep(void);
/* Whether everything has been sent to everybody who is there. */
bool clients_done(void);
bool clients_any(void);
/* Sends the end of the stream to everybody, and goes on reading. */
void clients_shut_down(void);
bool clients_any_attached_ever(void);
bool clients_creator_present(void);
