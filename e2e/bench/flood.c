// SPDX-License-Identifier: Apache-2.0
//go:build ignore

/*
 * flood sends frames as fast as one processor can and tells how long it took
 * until all had come out at the other end.
 *
 *     flood FRAMES COUNT ROUNDS FROM-NETNS FROM-LINK TO-NETNS TO-LINK
 *
 * FRAMES holds frames, each behind its length of two bytes in network order;
 * they are sent in turn until there were COUNT, and that ROUNDS times. What came
 * out is TO-LINK's count of sent packets; with "-" for it nothing is to come out,
 * and all is there when the last frame is sent. Prints a line "NANOSECONDS
 * ARRIVED" per round. With FLOOD_FAIR in the environment others get their share of
 * the processor. In C because it has no runtime that would be measured with it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct frame {
	const uint8_t *data;
	size_t len;
};

static struct frame *frames;
static size_t n_frames;

static void load(const char *file)
{
	struct stat st;
	uint8_t *buf;
	size_t at = 0;
	int fd = open(file, O_RDONLY);

	if (fd < 0 || fstat(fd, &st))
		err(1, "%s", file);
	buf = malloc(st.st_size);
	frames = calloc(st.st_size / 2, sizeof(*frames));
	if (!buf || !frames || read(fd, buf, st.st_size) != st.st_size)
		err(1, "%s", file);
	while (at + 2 <= (size_t)st.st_size) {
		struct frame *f = &frames[n_frames++];

		f->len = buf[at] << 8 | buf[at + 1];
		f->data = buf + at + 2;
		at += 2 + f->len;
	}
	if (!n_frames || at != (size_t)st.st_size)
		errx(1, "%s: frames do not fill the file", file);
}

static void enter(const char *netns)
{
	int fd = open(netns, O_RDONLY);

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		err(1, "%s", netns);
	close(fd);
}

static int port(const char *link)
{
	struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(link) };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || !sa.sll_ifindex || bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		err(1, "%s", link);
	return fd;
}

/* Column 10 of /proc/net/dev: packets sent */
static long sent(const char *link)
{
	static char buf[16384];
	size_t len = strlen(link);
	long v[10];
	ssize_t n;
	char *p;
	int fd = open("/proc/thread-self/net/dev", O_RDONLY);

	if (fd < 0 || (n = read(fd, buf, sizeof(buf) - 1)) < 0)
		err(1, "/proc/net/dev");
	close(fd);
	buf[n] = 0;
	for (p = strtok(buf, "\n"); p; p = strtok(NULL, "\n")) {
		p += strspn(p, " ");
		if (!strncmp(p, link, len) && p[len] == ':' &&
		    sscanf(p + len + 1, "%ld %ld %ld %ld %ld %ld %ld %ld %ld %ld", v, v + 1, v + 2,
			   v + 3, v + 4, v + 5, v + 6, v + 7, v + 8, v + 9) == 10)
			return v[9];
	}
	errx(1, "%s: no such link at the receiving end", link);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* Lets whatever else there is have the processor */
static void rest(void)
{
	usleep(1000);
}

static void flood(int fd, long count)
{
	size_t i = 0;

	while (count) {
		if (write(fd, frames[i].data, frames[i].len) < 0) {
			if (errno != ENOBUFS && errno != EAGAIN)
				err(1, "write");
			rest();
			continue;
		}
		count--;
		if (++i == n_frames)
			i = 0;
	}
}

int main(int argc, char **argv)
{
	struct sched_param first = { .sched_priority = 1 };
	long count, rounds;
	int fd;

	if (argc != 8)
		errx(2, "usage: flood FRAMES COUNT ROUNDS FROM-NETNS FROM-LINK TO-NETNS TO-LINK");
	load(argv[1]);
	count = atol(argv[2]);
	rounds = atol(argv[3]);
	enter(argv[4]);
	fd = port(argv[5]);
	enter(argv[6]);
	/* no other process runs, and so is measured, between two packets */
	if (!getenv("FLOOD_FAIR") && sched_setscheduler(0, SCHED_FIFO, &first))
		err(1, "sched_setscheduler");
	while (rounds--) {
		bool sink = strcmp(argv[7], "-");
		long before = sink ? sent(argv[7]) : 0, arrived = count;
		uint64_t start = now(), end;
		int tries = 0;

		flood(fd, count);
		end = now();
		/* mostly all is there: the last write() sent the last frame all the way */
		while (sink && (arrived = sent(argv[7]) - before) < count && tries++ < 1000) {
			rest();
			end = now();
		}
		printf("%llu %ld\n", (unsigned long long)(end - start), arrived);
	}
	return 0;
}
