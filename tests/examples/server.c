/*
 * A little server whose connections and requests come from named pools. Who does what:
 *
 *   client threads    connect, send requests, check the answers, close; again and again
 *   the event loop    accepts: allocates the connection. Reads: allocates the request, and queues it
 *   worker threads    answer and free the request; when the client is gone they also free the connection
 *
 * So each object is freed by another thread than the one that allocated it. At the end the server shows its pools, sees
 * that nothing of them is used any more, and destroys them.
 */
#include <tarn.h>

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { CLIENTS = 4, VISITS = 200, REQUESTS = 25, WORKERS = 3, TEXT_MAX = 80 };

struct connection {
    int fd;
    unsigned served;
};

struct request {
    struct request *next;
    struct connection *from;
    ssize_t length; /* 0: the client is gone */
    char text[TEXT_MAX];
};

static TARN_POOL(connections, "connection", sizeof(struct connection), 0);
static TARN_POOL(requests, "request", sizeof(struct request), 0);

static int poller;

static void need(int ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

/* ---- the queue between the event loop and the workers ------------------------------------------------ */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    struct request *first, **end;
    int closed;
} queue = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, &queue.first, 0};

static void queue_put(struct request *request)
{
    request->next = NULL;
    pthread_mutex_lock(&queue.lock);
    *queue.end = request;
    queue.end = &request->next;
    pthread_mutex_unlock(&queue.lock);
    pthread_cond_signal(&queue.filled);
}

/* NULL: the queue is empty and closed. */
static struct request *queue_take(void)
{
    struct request *request;

    pthread_mutex_lock(&queue.lock);
    while (queue.first == NULL && !queue.closed)
        pthread_cond_wait(&queue.filled, &queue.lock);
    request = queue.first;
    if (request != NULL && (queue.first = request->next) == NULL)
        queue.end = &queue.first;
    pthread_mutex_unlock(&queue.lock);
    return request;
}

static void queue_close(void)
{
    pthread_mutex_lock(&queue.lock);
    queue.closed = 1;
    pthread_mutex_unlock(&queue.lock);
    pthread_cond_broadcast(&queue.filled);
}

/* ---- workers ----------------------------------------------------------------------------------------- */

/* ONESHOT: a connection's next request is read when its last one is answered, so one worker at a time has it. */
static void watch(int operation, struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.ptr = connection};

    need(epoll_ctl(poller, operation, connection->fd, &event) == 0, "epoll_ctl");
}

static void answer(struct request *request)
{
    struct connection *connection = request->from;

    for (ssize_t i = 0; i < request->length; i++)
        request->text[i] = (char)toupper((unsigned char)request->text[i]);
    need(send(connection->fd, request->text, (size_t)request->length, MSG_NOSIGNAL) == request->length,
         "send");
    connection->served++;
    watch(EPOLL_CTL_MOD, connection);
}

static void say_goodbye(struct connection *connection)
{
    need(connection->served == REQUESTS, "requests were lost");
    close(connection->fd);
    tarn_pool_free(connections, connection);
}

static void *worker_main(void *unused)
{
    struct request *request;

    while ((request = queue_take()) != NULL) {
        if (request->length > 0)
            answer(request);
        else
            say_goodbye(request->from);
        tarn_pool_free(requests, request);
    }
    return unused;
}

/* ---- the event loop ---------------------------------------------------------------------------------- */

static void welcome(int listener)
{
    struct connection *connection = tarn_pool_zalloc(connections);

    need(connection != NULL, "a connection");
    connection->fd = accept(listener, NULL, NULL);
    need(connection->fd >= 0, "accept");
    watch(EPOLL_CTL_ADD, connection);
}

/* Reads one request, for the workers; returns 1 if the client is gone. */
static unsigned receive(struct connection *connection)
{
    struct request *request = tarn_pool_alloc(requests);
    int gone;

    need(request != NULL, "a request");
    request->from = connection;
    request->length = recv(connection->fd, request->text, sizeof(request->text), 0);
    need(request->length >= 0, "recv");
    gone = request->length == 0;
    queue_put(request);
    return gone;
}

/* Serves until so many clients have come and gone. The listener is the one thing watched without a connection. */
static void serve(int listener, unsigned visits)
{
    struct epoll_event event = {.events = EPOLLIN}, ready[16];

    poller = epoll_create1(0);
    need(epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) == 0, "epoll_ctl");
    for (unsigned gone = 0; gone < visits;) {
        int count = epoll_wait(poller, ready, 16, -1);

        for (int i = 0; i < count; i++) {
            if (ready[i].data.ptr == NULL)
                welcome(listener);
            else
                gone += receive(ready[i].data.ptr);
        }
    }
}

/* ---- clients ----------------------------------------------------------------------------------------- */

static struct sockaddr_un address; /* the kernel chooses it: no file, no port */
static socklen_t address_length = sizeof(address);

static void visit(unsigned number)
{
    char text[TEXT_MAX], reply[TEXT_MAX];
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

    need(connect(fd, (struct sockaddr *)&address, address_length) == 0, "connect");
    for (unsigned i = 0; i < REQUESTS; i++) {
        int length = snprintf(text, sizeof(text), "request %u of visit %u", i, number);

        need(send(fd, text, (size_t)length, 0) == length, "send");
        need(recv(fd, reply, sizeof(reply), 0) == length, "recv");
        need(strncasecmp(text, reply, (size_t)length) == 0 && reply[0] == 'R', "a wrong answer");
    }
    close(fd);
}

static void *client_main(void *unused)
{
    for (unsigned i = 0; i < VISITS; i++)
        visit(i);
    return unused;
}

/* ---- all of it --------------------------------------------------------------------------------------- */

static int listen_somewhere(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

    address.sun_family = AF_UNIX;
    need(bind(fd, (struct sockaddr *)&address, sizeof(address.sun_family)) == 0, "bind");
    need(getsockname(fd, (struct sockaddr *)&address, &address_length) == 0, "getsockname");
    need(listen(fd, CLIENTS) == 0, "listen");
    return fd;
}

/* Shows the pool; it must be empty, and then go. */
static void put_away(struct tarn_pool *pool, const char *query)
{
    struct tarn_pool_stats now = {.version = TARN_POOL_STATS_VERSION};

    need(tarn_pools_dump(STDOUT_FILENO, query) == 0, query);
    need(tarn_pool_stats(pool, &now) == 0 && now.allocated > 0, "it was never used");
    need(now.used == 0, "blocks are still used");
    need(tarn_pool_destroy(pool) == NULL, "tarn_pool_destroy");
}

int main(void)
{
    pthread_t client[CLIENTS], worker[WORKERS];
    int listener = listen_somewhere();

    for (unsigned i = 0; i < CLIENTS; i++)
        need(pthread_create(&client[i], NULL, client_main, NULL) == 0, "a client");
    for (unsigned i = 0; i < WORKERS; i++)
        need(pthread_create(&worker[i], NULL, worker_main, NULL) == 0, "a worker");
    serve(listener, CLIENTS * VISITS);
    queue_close();
    for (unsigned i = 0; i < CLIENTS; i++)
        pthread_join(client[i], NULL);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(worker[i], NULL);
    put_away(connections, "match connection");
    put_away(requests, "match request");
    return 0;
}
