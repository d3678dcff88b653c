// Checks of a broker with amqp091-go: checks URI. One line a check; the exit status is 1 when one has failed.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// Far longer than any answer takes.
	answerTimeout = 30 * time.Second
	// More than one frame holds: brokers offer frames of 128 KiB.
	largeBodyOctets = 300000
	// As many as a check publishes at most.
	messagesMax = 1000
)

var checks = []struct {
	name  string
	check func(uri string)
}{
	{"declares_and_binds", declaresAndBinds},
	{"publishes_with_confirms", publishesWithConfirms},
	{"sees_what_is_returned", seesWhatIsReturned},
	{"carries_properties_and_large_bodies", carriesPropertiesAndLargeBodies},
	{"consumes_with_prefetch", consumesWithPrefetch},
	{"nacks_and_rejects", nacksAndRejects},
	{"gets", gets},
	{"commits_and_rolls_back", commitsAndRollsBack},
	{"cancels_and_is_cancelled", cancelsAndIsCancelled},
	{"sees_errors_of_channels", seesErrorsOfChannels},
	{"is_refused_with_a_wrong_password", isRefusedWithAWrongPassword},
	{"closes", closes},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: checks URI")
		os.Exit(2)
	}
	status := 0
	for _, c := range checks {
		outcome := "ok"
		if err := run(c.check, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, c.name, err)
			outcome, status = "FAILED", 1
		}
		fmt.Printf("amqp091-go: %s ... %s\n", c.name, outcome)
	}
	os.Exit(status)
}

// run gives what a check panics with.
func run(check func(uri string), uri string) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			err = fmt.Errorf("%v", panicked)
		}
	}()
	check(uri)
	return nil
}

// --- what checks are made of ---

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func same(got, wanted interface{}) {
	if !reflect.DeepEqual(got, wanted) {
		panic(fmt.Sprintf("%#v in place of %#v", got, wanted))
	}
}

// refused says whether the broker has closed with this code.
func refused(code int, err error) {
	var amqpError *amqp.Error
	if !errors.As(err, &amqpError) {
		panic(fmt.Sprintf("%v in place of %d", err, code))
	}
	same(amqpError.Code, code)
}

func connect(uri string) *amqp.Connection {
	connection, err := amqp.Dial(uri)
	must(err)
	return connection
}

func open(connection *amqp.Connection) *amqp.Channel {
	channel, err := connection.Channel()
	must(err)
	return channel
}

// confirmed is a channel in confirm mode. Its confirms come from a listener: 1.5.0 knows a DeferredConfirmation only after
// it has sent the message, and when the confirm is faster than that, Wait never ends.
type confirmed struct {
	*amqp.Channel
	confirms <-chan amqp.Confirmation
	returns  <-chan amqp.Return
}

func confirming(connection *amqp.Connection) confirmed {
	channel := open(connection)
	must(channel.Confirm(false))
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, messagesMax))
	returns := channel.NotifyReturn(make(chan amqp.Return, messagesMax))
	return confirmed{channel, confirms, returns}
}

// confirm takes the next confirm, which is an ack.
func (c confirmed) confirm() {
	select {
	case confirmation := <-c.confirms:
		same(confirmation.Ack, true)
	case <-time.After(answerTimeout):
		panic("no confirm came")
	}
}

// publish publishes, and takes the confirm.
func (c confirmed) publish(exchange, key string, message amqp.Publishing) {
	send(c.Channel, exchange, key, message)
	c.confirm()
}

// fill publishes to a queue, and takes the confirms.
func (c confirmed) fill(queue string, bodies ...string) {
	for _, body := range bodies {
		c.publish("", queue, amqp.Publishing{Body: []byte(body)})
	}
}

// returned is the next message that comes back.
func (c confirmed) returned() amqp.Return {
	select {
	case message := <-c.returns:
		return message
	case <-time.After(answerTimeout):
		panic("nothing was returned")
	}
}

// ownQueue makes a queue of this connection alone, with a name from the broker.
func ownQueue(channel *amqp.Channel, arguments amqp.Table) string {
	queue, err := channel.QueueDeclare("", false, false, true, false, arguments)
	must(err)
	return queue.Name
}

// ready is how many messages wait in a queue.
func ready(channel *amqp.Channel, queue string) int {
	declared, err := channel.QueueDeclarePassive(queue, false, false, true, false, nil)
	must(err)
	return declared.Messages
}

func send(channel *amqp.Channel, exchange, key string, message amqp.Publishing) {
	must(channel.PublishWithContext(context.Background(), exchange, key, true, false, message))
}

func consume(channel *amqp.Channel, queue string) <-chan amqp.Delivery {
	deliveries, err := channel.Consume(queue, "", false, false, false, false, nil)
	must(err)
	return deliveries
}

// next is the next delivery, which has this body.
func next(deliveries <-chan amqp.Delivery, body string) amqp.Delivery {
	select {
	case delivery, isOpen := <-deliveries:
		if !isOpen {
			panic("the consumer has ended before " + body)
		}
		if string(delivery.Body) != body {
			panic(fmt.Sprintf("%d octets in place of %d", len(delivery.Body), len(body)))
		}
		return delivery
	case <-time.After(answerTimeout):
		panic("no delivery came")
	}
}

// take takes a message out of a queue that is not empty.
func take(channel *amqp.Channel, queue string) amqp.Delivery {
	message, isThere, err := channel.Get(queue, false)
	must(err)
	same(isThere, true)
	return message
}

func isEmpty(channel *amqp.Channel, queue string) {
	_, isThere, err := channel.Get(queue, false)
	must(err)
	same(isThere, false)
}

// --- the checks ---

func declaresAndBinds(uri string) {
	connection := connect(uri)
	channel := confirming(connection)
	exchange := "clients.go.topics"
	must(channel.ExchangeDeclare(exchange, "topic", false, false, false, false, nil))
	queue := ownQueue(channel.Channel, nil)
	must(channel.QueueBind(queue, "orders.*.new", exchange, false, nil))
	channel.publish(exchange, "orders.eu.new", amqp.Publishing{})
	channel.publish(exchange, "orders.eu.old", amqp.Publishing{})
	same(channel.returned().RoutingKey, "orders.eu.old")
	must(channel.QueueUnbind(queue, "orders.*.new", exchange, nil))
	channel.publish(exchange, "orders.eu.new", amqp.Publishing{})
	same(channel.returned().RoutingKey, "orders.eu.new")
	purged, err := channel.QueuePurge(queue, false)
	must(err)
	same(purged, 1)
	must(channel.ExchangeDelete(exchange, false, false))
	must(connection.Close())
}

func publishesWithConfirms(uri string) {
	connection := connect(uri)
	channel := confirming(connection)
	queue := ownQueue(channel.Channel, nil)
	for number := 0; number < messagesMax; number++ {
		send(channel.Channel, "", queue, amqp.Publishing{Body: []byte(fmt.Sprint(number))})
	}
	for number := 0; number < messagesMax; number++ {
		channel.confirm()
	}
	same(ready(channel.Channel, queue), messagesMax)
	must(connection.Close())
}

func seesWhatIsReturned(uri string) {
	connection := connect(uri)
	channel := confirming(connection)
	key := "clients.go.nowhere"
	channel.publish("", key, amqp.Publishing{Body: []byte("lost")})
	message := channel.returned()
	same(message.ReplyCode, uint16(312))
	same(message.ReplyText, "NO_ROUTE")
	same(message.RoutingKey, key)
	same(string(message.Body), "lost")
	must(connection.Close())
}

func carriesPropertiesAndLargeBodies(uri string) {
	connection := connect(uri)
	channel := confirming(connection)
	queue := ownQueue(channel.Channel, nil)
	headers := amqp.Table{
		"number":  int32(-7),
		"text":    "grün",
		"table":   amqp.Table{"deep": true},
		"nothing": nil,
		"list":    []interface{}{int64(1), "2"},
	}
	message := amqp.Publishing{
		ContentType:   "text/plain",
		Headers:       headers,
		DeliveryMode:  amqp.Persistent,
		Priority:      3,
		CorrelationId: "correlation",
		ReplyTo:       "reply",
		MessageId:     "message",
		Timestamp:     time.Unix(1700000000, 0),
		Type:          "kind",
		AppId:         "application",
	}
	large := string(bytes.Repeat([]byte("0123456789"), largeBodyOctets/10))
	for _, body := range []string{large, ""} {
		message.Body = []byte(body)
		channel.publish("", queue, message)
	}
	deliveries := consume(channel.Channel, queue)
	for _, body := range []string{large, ""} {
		delivery := next(deliveries, body)
		same(delivery.Headers, headers)
		same(delivery.Timestamp.Unix(), message.Timestamp.Unix())
		same(delivery.DeliveryMode, message.DeliveryMode)
		same(delivery.Priority, message.Priority)
		texts := []string{delivery.ContentType, delivery.CorrelationId, delivery.ReplyTo, delivery.MessageId,
			delivery.Type, delivery.AppId}
		same(texts, []string{"text/plain", "correlation", "reply", "message", "kind", "application"})
	}
	must(connection.Close())
}

func consumesWithPrefetch(uri string) {
	connection := connect(uri)
	channel := confirming(connection)
	queue := ownQueue(channel.Channel, nil)
	channel.fill(queue, "1", "2", "3", "4", "5")
	must(channel.Qos(2, 0, false))
	deliveries := consume(channel.Channel, queue)
	next(deliveries, "1")
	second := next(deliveries, "2")
	same(ready(channel.Channel, queue), 3)
	must(second.Ack(true))
	next(deliveries, "3")
	fourth := next(deliveries, "4")
	same(ready(channel.Channel, queue), 1)
	must(fourth.Ack(false))
	next(deliveries, "5")
	must(connection.Close())
}

func nacksAndRejects(uri string) {
	connection := connect(uri)
	channel := confirming(connection)
	dead := ownQueue(channel.Channel, nil)
	queue := ownQueue(channel.Channel, amqp.Table{
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": dead,
	})
	channel.fill(queue, "1", "2")
	deliveries := consume(channel.Channel, queue)
	first, second := next(deliveries, "1"), next(deliveries, "2")
	must(first.Nack(false, true))
	first = next(deliveries, "1")
	same(first.Redelivered, true)
	must(first.Nack(false, false))
	must(second.Reject(false))
	letters := consume(channel.Channel, dead)
	for _, body := range []string{"1", "2"} {
		same(next(letters, body).Headers["x-first-death-reason"], "rejected")
	}
	must(connection.Close())
}

func gets(uri string) {
	connection := connect(uri)
	channel := confirming(connection)
	queue := ownQueue(channel.Channel, nil)
	isEmpty(channel.Channel, queue)
	channel.fill(queue, "1", "2")
	message := take(channel.Channel, queue)
	same(string(message.Body), "1")
	same(message.MessageCount, uint32(1))
	must(message.Nack(false, true))
	for _, body := range []string{"1", "2"} {
		message := take(channel.Channel, queue)
		same(string(message.Body), body)
		same(message.Redelivered, body == "1")
		must(message.Ack(false))
	}
	isEmpty(channel.Channel, queue)
	must(connection.Close())
}

func commitsAndRollsBack(uri string) {
	connection := connect(uri)
	channel := open(connection)
	queue := ownQueue(channel, nil)
	must(channel.Tx())
	send(channel, "", queue, amqp.Publishing{Body: []byte("1")})
	must(channel.TxRollback())
	send(channel, "", queue, amqp.Publishing{Body: []byte("2")})
	same(ready(channel, queue), 0)
	must(channel.TxCommit())
	message := take(channel, queue)
	same(string(message.Body), "2")
	must(message.Ack(false))
	must(channel.TxCommit())
	isEmpty(channel, queue)
	must(connection.Close())
}

func cancelsAndIsCancelled(uri string) {
	connection := connect(uri)
	channel := confirming(connection)
	queue := ownQueue(channel.Channel, nil)
	deliveries, err := channel.Consume(queue, "mine", false, false, false, false, nil)
	must(err)
	must(channel.Cancel("mine", false))
	if _, isOpen := <-deliveries; isOpen {
		panic("a delivery after the cancel")
	}
	channel.fill(queue, "1")
	same(ready(channel.Channel, queue), 1)
	cancelled := channel.NotifyCancel(make(chan string, 1))
	deliveries, err = channel.Consume(queue, "mine", false, false, false, false, nil)
	must(err)
	next(deliveries, "1")
	_, err = channel.QueueDelete(queue, false, false, false)
	must(err)
	select {
	case tag := <-cancelled:
		same(tag, "mine")
	case <-time.After(answerTimeout):
		panic("the broker did not cancel it")
	}
	must(connection.Close())
}

func seesErrorsOfChannels(uri string) {
	connection, stranger := connect(uri), connect(uri)
	queue := "clients.go.own"
	owner := open(connection)
	_, err := owner.QueueDeclare(queue, false, false, true, false, nil)
	must(err)
	_, err = open(connection).QueueDeclarePassive("clients.go.unknown", false, false, false, false, nil)
	refused(amqp.NotFound, err)
	_, err = open(connection).QueueDeclare(queue, false, false, true, false, amqp.Table{"x-max-length": 1})
	refused(amqp.PreconditionFailed, err)
	_, err = open(connection).QueueDeclare("amq.go", false, false, true, false, nil)
	refused(amqp.AccessRefused, err)
	_, err = open(stranger).QueueDeclarePassive(queue, false, false, false, false, nil)
	refused(amqp.ResourceLocked, err)
	same(ready(owner, queue), 0)
	must(stranger.Close())
	must(connection.Close())
}

func isRefusedWithAWrongPassword(uri string) {
	_, err := amqp.Dial(strings.Replace(uri, "guest:guest@", "guest:wrong@", 1))
	refused(amqp.AccessRefused, err)
}

func closes(uri string) {
	connection := connect(uri)
	queue := ownQueue(open(connection), nil)
	must(open(connection).Close())
	must(connection.Close())
	same(connection.IsClosed(), true)
	connection = connect(uri)
	_, err := open(connection).QueueDeclarePassive(queue, false, false, false, false, nil)
	refused(amqp.NotFound, err)
	must(connection.Close())
}
