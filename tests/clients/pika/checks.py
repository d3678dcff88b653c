#!/usr/bin/env python3
"""Checks of a broker with pika: checks.py URI. One line a check; the exit status is 1 when one has failed."""

import sys
import traceback

import pika
from pika.exceptions import (
    ChannelClosedByBroker,
    ProbableAuthenticationError,
    UnroutableError,
)

# Far longer than any answer takes.
SECONDS_MAX = 30
# More than one frame holds: brokers offer frames of 128 KiB.
LARGE_BODY_OCTETS = 300_000


def connect(uri):
    parameters = pika.URLParameters(uri)
    parameters.socket_timeout = SECONDS_MAX
    return pika.BlockingConnection(parameters)


def confirming(connection):
    channel = connection.channel()
    channel.confirm_delivery()
    return channel


def own_queue(channel, **arguments):
    """A queue of this connection alone, with a name from the broker."""
    arguments = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    return channel.queue_declare("", exclusive=True, arguments=arguments).method.queue


def ready(channel, queue):
    """How many messages wait in a queue."""
    return channel.queue_declare(queue, passive=True).method.message_count


def publish(channel, queue, *bodies):
    """Publishes; in confirm mode it waits for each confirm."""
    for body in bodies:
        channel.basic_publish("", queue, body, mandatory=True)


class Consumer:
    def __init__(self, channel, queue):
        self.deliveries = channel.consume(queue, inactivity_timeout=SECONDS_MAX)

    def next(self):
        """The next delivery: about it, properties, body."""
        method, properties, body = next(self.deliveries)
        assert method is not None, "no delivery came"
        return method, properties, body

    def expect(self, body):
        method, _, received = self.next()
        same(received, body)
        return method

    def is_over(self):
        return next(self.deliveries, None) is None


def same(got, wanted):
    assert got == wanted, f"{got!r} in place of {wanted!r}"


def refused(code, call, *arguments, **named):
    """The broker closes the channel with this code."""
    try:
        call(*arguments, **named)
    except ChannelClosedByBroker as error:
        same(error.reply_code, code)
    else:
        raise AssertionError(f"{code} did not come")


def returned(channel, exchange, key, body):
    """The broker returns the message."""
    try:
        channel.basic_publish(exchange, key, body, mandatory=True)
    except UnroutableError as error:
        (message,) = error.messages
        same((message.method.reply_code, message.method.reply_text), (312, "NO_ROUTE"))
        same((message.method.routing_key, message.body), (key, body))
    else:
        raise AssertionError("nothing was returned")


def declares_and_binds(uri):
    with connect(uri) as connection:
        channel = confirming(connection)
        exchange = "clients.pika.topics"
        channel.exchange_declare(exchange, "topic")
        queue = own_queue(channel)
        channel.queue_bind(queue, exchange, "orders.*.new")
        channel.basic_publish(exchange, "orders.eu.new", b"1", mandatory=True)
        returned(channel, exchange, "orders.eu.old", b"2")
        channel.queue_unbind(queue, exchange, "orders.*.new")
        returned(channel, exchange, "orders.eu.new", b"3")
        same(channel.queue_purge(queue).method.message_count, 1)
        channel.exchange_delete(exchange)


def publishes_with_confirms(uri):
    with connect(uri) as connection:
        channel = confirming(connection)
        queue = own_queue(channel)
        publish(channel, queue, *(str(number).encode() for number in range(200)))
        same(ready(channel, queue), 200)


def sees_what_is_returned(uri):
    with connect(uri) as connection:
        returned(confirming(connection), "", "clients.pika.nowhere", b"lost")


def carries_properties_and_large_bodies(uri):
    properties = pika.BasicProperties(
        content_type="text/plain",
        headers={"number": -7, "text": "grün", "table": {"deep": True}, "nothing": None, "list": [1, "2"]},
        delivery_mode=2,
        priority=3,
        correlation_id="correlation",
        reply_to="reply",
        message_id="message",
        timestamp=1_700_000_000,
        type="kind",
        app_id="application",
    )
    large = bytes(number % 256 for number in range(LARGE_BODY_OCTETS))
    with connect(uri) as connection:
        channel = confirming(connection)
        queue = own_queue(channel)
        for body in large, b"":
            channel.basic_publish("", queue, body, properties)
        consumer = Consumer(channel, queue)
        for body in large, b"":
            _, received, received_body = consumer.next()
            assert received_body == body, f"{len(received_body)} octets came"
            same(received, properties)


def consumes_with_prefetch(uri):
    with connect(uri) as connection:
        channel = confirming(connection)
        queue = own_queue(channel)
        publish(channel, queue, b"1", b"2", b"3", b"4", b"5")
        channel.basic_qos(prefetch_count=2)
        consumer = Consumer(channel, queue)
        consumer.expect(b"1")
        second = consumer.expect(b"2")
        same(ready(channel, queue), 3)
        channel.basic_ack(second.delivery_tag, multiple=True)
        consumer.expect(b"3")
        fourth = consumer.expect(b"4")
        same(ready(channel, queue), 1)
        channel.basic_ack(fourth.delivery_tag)
        consumer.expect(b"5")


def nacks_and_rejects(uri):
    with connect(uri) as connection:
        channel = confirming(connection)
        dead = own_queue(channel)
        queue = own_queue(channel, dead_letter_exchange="", dead_letter_routing_key=dead)
        publish(channel, queue, b"1", b"2")
        consumer = Consumer(channel, queue)
        first, second = consumer.expect(b"1"), consumer.expect(b"2")
        channel.basic_nack(first.delivery_tag, requeue=True)
        first = consumer.expect(b"1")
        assert first.redelivered
        channel.basic_nack(first.delivery_tag, requeue=False)
        channel.basic_reject(second.delivery_tag, requeue=False)
        channel.cancel()
        letters = Consumer(channel, dead)
        for body in b"1", b"2":
            _, properties, received = letters.next()
            same(received, body)
            same(properties.headers["x-first-death-reason"], "rejected")


def gets(uri):
    with connect(uri) as connection:
        channel = confirming(connection)
        queue = own_queue(channel)
        same(channel.basic_get(queue), (None, None, None))
        publish(channel, queue, b"1", b"2")
        method, _, body = channel.basic_get(queue)
        same((method.message_count, body), (1, b"1"))
        channel.basic_nack(method.delivery_tag, requeue=True)
        for expected, redelivered in (b"1", True), (b"2", False):
            method, _, body = channel.basic_get(queue, auto_ack=True)
            same((body, method.redelivered), (expected, redelivered))
        same(channel.basic_get(queue), (None, None, None))


def commits_and_rolls_back(uri):
    with connect(uri) as connection:
        channel = connection.channel()
        queue = own_queue(channel)
        channel.tx_select()
        publish(channel, queue, b"1")
        channel.tx_rollback()
        publish(channel, queue, b"2")
        same(ready(channel, queue), 0)
        channel.tx_commit()
        method, _, body = channel.basic_get(queue)
        same(body, b"2")
        channel.basic_ack(method.delivery_tag)
        channel.tx_commit()
        same(channel.basic_get(queue), (None, None, None))


def cancels_and_is_cancelled(uri):
    with connect(uri) as connection:
        channel = confirming(connection)
        queue = own_queue(channel)
        publish(channel, queue, b"1", b"2")
        consumer = Consumer(channel, queue)
        consumer.expect(b"1")
        # What was delivered and not given out goes back with the cancel.
        channel.cancel()
        consumer = Consumer(channel, queue)
        consumer.expect(b"2")
        connection.channel().queue_delete(queue)
        assert consumer.is_over(), "the broker did not cancel it"


def sees_errors_of_channels(uri):
    with connect(uri) as connection, connect(uri) as stranger:
        queue = "clients.pika.own"
        owner = connection.channel()
        owner.queue_declare(queue, exclusive=True)
        refused(404, connection.channel().queue_declare, "clients.pika.unknown", passive=True)
        other = {"x-max-length": 1}
        refused(406, connection.channel().queue_declare, queue, exclusive=True, arguments=other)
        refused(403, connection.channel().queue_declare, "amq.pika")
        refused(405, stranger.channel().queue_declare, queue, passive=True)
        same(ready(owner, queue), 0)


def is_refused_with_a_wrong_password(uri):
    try:
        connect(uri.replace("guest:guest@", "guest:wrong@"))
    except ProbableAuthenticationError as error:
        assert "403" in str(error) or "ACCESS_REFUSED" in repr(error), repr(error)
    else:
        raise AssertionError("it may log in")


def closes(uri):
    connection = connect(uri)
    queue = own_queue(connection.channel())
    other = connection.channel()
    other.close()
    connection.close()
    assert connection.is_closed
    with connect(uri) as connection:
        refused(404, connection.channel().queue_declare, queue, passive=True)


CHECKS = (
    declares_and_binds,
    publishes_with_confirms,
    sees_what_is_returned,
    carries_properties_and_large_bodies,
    consumes_with_prefetch,
    nacks_and_rejects,
    gets,
    commits_and_rolls_back,
    cancels_and_is_cancelled,
    sees_errors_of_channels,
    is_refused_with_a_wrong_password,
    closes,
)


def main():
    (uri,) = sys.argv[1:]
    failed = 0
    for check in CHECKS:
        try:
            check(uri)
            outcome = "ok"
        except Exception:  # whatever it is, the others are still to be seen
            traceback.print_exc()
            outcome = "FAILED"
            failed += 1
        print(f"pika {pika.__version__}: {check.__name__} ... {outcome}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
