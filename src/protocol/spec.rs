//! Every class and method of AMQP 0-9-1 with RabbitMQ's extensions: the one table that types and codecs are made of.
//!
//! ```text
//! "wire name" id Variant(Struct) [who may get it, sync, content] -> [replies] {
//!     [reserved: type]  name: domain, ..  ; [reserved: type]
//! }
//! ```
//!
//! `to_server` and `to_client` say who receives a method. A test compares the table with the machine-readable
//! specification. Beyond it stand four methods of RabbitMQ that it lacks: `connection.blocked`, `connection.unblocked`,
//! `connection.update-secret` and its `-ok`.

use super::error::DecodeError;
use super::method::MethodSpec;
use super::wire::{Field, Reader, Writer};

specification! { 'a
    /// Handshake, limits and end of a connection. All on channel 0.
    class connection 10 {
        /// The server begins the handshake: it says who it is and how one can log in.
        "start" 10 ConnectionStart(Start<'a>) [to_client sync] -> ["start-ok"] {
            /// 0 for AMQP 0-9-1.
            version_major: octet,
            /// 9 for AMQP 0-9-1.
            version_minor: octet,
            /// Product, version, capabilities.
            server_properties: peer_properties,
            /// SASL mechanisms, with spaces between.
            mechanisms: longstr,
            /// Locales for texts, with spaces between.
            locales: longstr,
        }
        /// The client logs in.
        "start-ok" 11 ConnectionStartOk(StartOk<'a>) [to_server sync] {
            /// Product, version, capabilities.
            client_properties: peer_properties,
            /// The chosen SASL mechanism.
            mechanism: shortstr,
            /// What the mechanism says first. A secret.
            response: longstr,
            /// The chosen locale.
            locale: shortstr,
        }
        /// The server asks for more, as the mechanism has it.
        "secure" 20 ConnectionSecure(Secure<'a>) [to_client sync] -> ["secure-ok"] {
            /// What the mechanism asks.
            challenge: longstr,
        }
        /// The client answers.
        "secure-ok" 21 ConnectionSecureOk(SecureOk<'a>) [to_server sync] {
            /// What the mechanism answers. A secret.
            response: longstr,
        }
        /// The server proposes limits.
        "tune" 30 ConnectionTune(Tune) [to_client sync] -> ["tune-ok"] {
            /// Highest channel number; 0 for no limit.
            channel_max: short,
            /// Largest frame in octets; 0 for no limit.
            frame_max: long,
            /// Seconds between heartbeats; 0 for none.
            heartbeat: short,
        }
        /// The client settles the limits.
        "tune-ok" 31 ConnectionTuneOk(TuneOk) [to_server sync] {
            /// Highest channel number; 0 for no limit.
            channel_max: short,
            /// Largest frame in octets; 0 for no limit.
            frame_max: long,
            /// Seconds between heartbeats; 0 for none.
            heartbeat: short,
        }
        /// The client chooses a virtual host.
        "open" 40 ConnectionOpen(Open<'a>) [to_server sync] -> ["open-ok"] {
            /// Its name.
            virtual_host: path,
            ; [reserved_1: shortstr, reserved_2: bit]
        }
        /// The connection is open.
        "open-ok" 41 ConnectionOpenOk(OpenOk) [to_client sync] { [reserved_1: shortstr] }
        /// Ends the connection; after it only `close-ok` counts.
        "close" 50 ConnectionClose(Close<'a>) [to_client to_server sync] -> ["close-ok"] {
            /// Why, as a number; see [`ReplyCode`](crate::protocol::ReplyCode).
            reply_code: reply_code,
            /// Why, as a text.
            reply_text: reply_text,
            /// Class of the method that was at fault, or 0.
            class_id: class_id,
            /// Method that was at fault, or 0.
            method_id: method_id,
        }
        /// The end is agreed; the socket may be closed.
        "close-ok" 51 ConnectionCloseOk(CloseOk) [to_client to_server sync] {}
        /// RabbitMQ: the broker lacks memory or disk and reads no publishes.
        "blocked" 60 ConnectionBlocked(Blocked<'a>) [to_client] {
            /// Which resource is low.
            reason: shortstr,
        }
        /// RabbitMQ: the broker takes publishes again.
        "unblocked" 61 ConnectionUnblocked(Unblocked) [to_client] {}
        /// RabbitMQ: renews a credential that runs out, such as an OAuth 2 token.
        "update-secret" 70 ConnectionUpdateSecret(UpdateSecret<'a>) [to_server sync] -> ["update-secret-ok"] {
            /// The new credential. A secret.
            new_secret: longstr,
            /// Why, for the broker's log.
            reason: shortstr,
        }
        /// RabbitMQ: the new credential is in use.
        "update-secret-ok" 71 ConnectionUpdateSecretOk(UpdateSecretOk) [to_client sync] {}
    }

    /// Begin, flow and end of a channel.
    class channel 20 {
        /// Opens the channel on whose number it comes.
        "open" 10 ChannelOpen(Open) [to_server sync] -> ["open-ok"] { [reserved_1: shortstr] }
        /// The channel is open.
        "open-ok" 11 ChannelOpenOk(OpenOk) [to_client sync] { [reserved_1: longstr] }
        /// Asks the peer to stop or go on sending content.
        "flow" 20 ChannelFlow(Flow) [to_server to_client sync] -> ["flow-ok"] {
            /// Whether content may be sent.
            active: bit,
        }
        /// The peer does as it was asked.
        "flow-ok" 21 ChannelFlowOk(FlowOk) [to_server to_client] {
            /// Whether content will be sent.
            active: bit,
        }
        /// Ends the channel; after it only `close-ok` counts.
        "close" 40 ChannelClose(Close<'a>) [to_client to_server sync] -> ["close-ok"] {
            /// Why, as a number; see [`ReplyCode`](crate::protocol::ReplyCode).
            reply_code: reply_code,
            /// Why, as a text.
            reply_text: reply_text,
            /// Class of the method that was at fault, or 0.
            class_id: class_id,
            /// Method that was at fault, or 0.
            method_id: method_id,
        }
        /// The end is agreed; the number may be used again.
        "close-ok" 41 ChannelCloseOk(CloseOk) [to_client to_server sync] {}
    }

    /// Exchanges, and bindings between them.
    class exchange 40 {
        /// Makes an exchange, or checks that it is there.
        "declare" 10 ExchangeDeclare(Declare<'a>) [to_server sync] -> ["declare-ok"] {
            [reserved_1: short]
            /// Its name.
            exchange: exchange_name,
            /// `direct`, `fanout`, `topic`, `headers` or a plugin's.
            type_: shortstr,
            /// Only checks that it is there.
            passive: bit,
            /// Whether it outlives a restart of the broker.
            durable: bit,
            /// Whether it goes when nothing is bound to it any more.
            auto_delete: bit,
            /// Whether only other exchanges may publish to it.
            internal: bit,
            /// Whether no answer is wanted.
            no_wait: no_wait,
            /// What the type or plugins take.
            arguments: table,
        }
        /// The exchange is there.
        "declare-ok" 11 ExchangeDeclareOk(DeclareOk) [to_client sync] {}
        /// Deletes an exchange.
        "delete" 20 ExchangeDelete(Delete<'a>) [to_server sync] -> ["delete-ok"] {
            [reserved_1: short]
            /// Its name.
            exchange: exchange_name,
            /// Only when nothing is bound to it.
            if_unused: bit,
            /// Whether no answer is wanted.
            no_wait: no_wait,
        }
        /// The exchange is gone.
        "delete-ok" 21 ExchangeDeleteOk(DeleteOk) [to_client sync] {}
        /// RabbitMQ: binds an exchange to an exchange.
        "bind" 30 ExchangeBind(Bind<'a>) [to_server sync] -> ["bind-ok"] {
            [reserved_1: short]
            /// The exchange that messages go to.
            destination: exchange_name,
            /// The exchange that messages come from.
            source: exchange_name,
            /// Which messages.
            routing_key: shortstr,
            /// Whether no answer is wanted.
            no_wait: no_wait,
            /// Which messages, for a headers exchange.
            arguments: table,
        }
        /// RabbitMQ: the binding is there.
        "bind-ok" 31 ExchangeBindOk(BindOk) [to_client sync] {}
        /// RabbitMQ: takes a binding between exchanges away.
        "unbind" 40 ExchangeUnbind(Unbind<'a>) [to_server sync] -> ["unbind-ok"] {
            [reserved_1: short]
            /// The exchange that messages went to.
            destination: exchange_name,
            /// The exchange that messages came from.
            source: exchange_name,
            /// As it was bound.
            routing_key: shortstr,
            /// Whether no answer is wanted.
            no_wait: no_wait,
            /// As it was bound.
            arguments: table,
        }
        /// RabbitMQ: the binding is gone. Its id is 51, and not 41 as one would think.
        "unbind-ok" 51 ExchangeUnbindOk(UnbindOk) [to_client sync] {}
    }

    /// Queues and their bindings.
    class queue 50 {
        /// Makes a queue, or checks that it is there.
        "declare" 10 QueueDeclare(Declare<'a>) [to_server sync] -> ["declare-ok"] {
            [reserved_1: short]
            /// Its name; empty for one that the server chooses.
            queue: queue_name,
            /// Only checks that it is there.
            passive: bit,
            /// Whether it outlives a restart of the broker.
            durable: bit,
            /// Whether it belongs to this connection and goes with it.
            exclusive: bit,
            /// Whether it goes with its last consumer.
            auto_delete: bit,
            /// Whether no answer is wanted.
            no_wait: no_wait,
            /// Queue type, limits, dead lettering and so on.
            arguments: table,
        }
        /// The queue is there.
        "declare-ok" 11 QueueDeclareOk(DeclareOk<'a>) [to_client sync] {
            /// Its name.
            queue: queue_name,
            /// Messages ready for delivery.
            message_count: message_count,
            /// Consumers that it has.
            consumer_count: long,
        }
        /// Binds a queue to an exchange.
        "bind" 20 QueueBind(Bind<'a>) [to_server sync] -> ["bind-ok"] {
            [reserved_1: short]
            /// The queue; empty for the last one declared on the channel.
            queue: queue_name,
            /// The exchange.
            exchange: exchange_name,
            /// Which messages.
            routing_key: shortstr,
            /// Whether no answer is wanted.
            no_wait: no_wait,
            /// Which messages, for a headers exchange.
            arguments: table,
        }
        /// The binding is there.
        "bind-ok" 21 QueueBindOk(BindOk) [to_client sync] {}
        /// Takes a binding away.
        "unbind" 50 QueueUnbind(Unbind<'a>) [to_server sync] -> ["unbind-ok"] {
            [reserved_1: short]
            /// The queue.
            queue: queue_name,
            /// The exchange.
            exchange: exchange_name,
            /// As it was bound.
            routing_key: shortstr,
            /// As it was bound.
            arguments: table,
        }
        /// The binding is gone.
        "unbind-ok" 51 QueueUnbindOk(UnbindOk) [to_client sync] {}
        /// Drops all ready messages of a queue.
        "purge" 30 QueuePurge(Purge<'a>) [to_server sync] -> ["purge-ok"] {
            [reserved_1: short]
            /// The queue.
            queue: queue_name,
            /// Whether no answer is wanted.
            no_wait: no_wait,
        }
        /// The messages are gone.
        "purge-ok" 31 QueuePurgeOk(PurgeOk) [to_client sync] {
            /// How many they were.
            message_count: message_count,
        }
        /// Deletes a queue.
        "delete" 40 QueueDelete(Delete<'a>) [to_server sync] -> ["delete-ok"] {
            [reserved_1: short]
            /// The queue.
            queue: queue_name,
            /// Only when it has no consumers.
            if_unused: bit,
            /// Only when it has no messages.
            if_empty: bit,
            /// Whether no answer is wanted.
            no_wait: no_wait,
        }
        /// The queue is gone.
        "delete-ok" 41 QueueDeleteOk(DeleteOk) [to_client sync] {
            /// How many messages went with it.
            message_count: message_count,
        }
    }

    /// Publishing, delivering and acknowledging messages. The only class with content.
    class basic 60 {
        /// Sets the prefetch window.
        "qos" 10 BasicQos(Qos) [to_server sync] -> ["qos-ok"] {
            /// Window in octets; RabbitMQ takes only 0, no limit.
            prefetch_size: long,
            /// Window in messages; 0 for no limit.
            prefetch_count: short,
            /// RabbitMQ: one window for the whole channel instead of one for each new consumer.
            global: bit,
        }
        /// The window is set.
        "qos-ok" 11 BasicQosOk(QosOk) [to_client sync] {}
        /// Starts a consumer.
        "consume" 20 BasicConsume(Consume<'a>) [to_server sync] -> ["consume-ok"] {
            [reserved_1: short]
            /// The queue.
            queue: queue_name,
            /// The consumer's name on this channel; empty for one that the server chooses.
            consumer_tag: consumer_tag,
            /// Not what was published on the same connection. RabbitMQ ignores it.
            no_local: no_local,
            /// Deliveries count as acknowledged when they are sent.
            no_ack: no_ack,
            /// No other consumer may have the queue.
            exclusive: bit,
            /// Whether no answer is wanted.
            no_wait: no_wait,
            /// Priority, stream offset and so on.
            arguments: table,
        }
        /// The consumer runs.
        "consume-ok" 21 BasicConsumeOk(ConsumeOk<'a>) [to_client sync] {
            /// Its name.
            consumer_tag: consumer_tag,
        }
        /// Ends a consumer; from the server it says that the queue is gone.
        "cancel" 30 BasicCancel(Cancel<'a>) [to_server to_client sync] -> ["cancel-ok"] {
            /// The consumer.
            consumer_tag: consumer_tag,
            /// Whether no answer is wanted.
            no_wait: no_wait,
        }
        /// The consumer has ended.
        "cancel-ok" 31 BasicCancelOk(CancelOk<'a>) [to_client to_server sync] {
            /// The consumer.
            consumer_tag: consumer_tag,
        }
        /// Publishes the message that follows.
        "publish" 40 BasicPublish(Publish<'a>) [to_server content] {
            [reserved_1: short]
            /// The exchange; empty for the default one.
            exchange: exchange_name,
            /// What the exchange routes by.
            routing_key: shortstr,
            /// Return it when no queue takes it.
            mandatory: bit,
            /// Return it when no consumer can take it now. RabbitMQ refuses it.
            immediate: bit,
        }
        /// The message that follows could not be routed.
        "return" 50 BasicReturn(Return<'a>) [to_client content] {
            /// Why, as a number.
            reply_code: reply_code,
            /// Why, as a text.
            reply_text: reply_text,
            /// The exchange it was published to.
            exchange: exchange_name,
            /// The routing key it was published with.
            routing_key: shortstr,
        }
        /// Delivers the message that follows to a consumer.
        "deliver" 60 BasicDeliver(Deliver<'a>) [to_client content] {
            /// The consumer.
            consumer_tag: consumer_tag,
            /// Number of the delivery on this channel, from 1.
            delivery_tag: delivery_tag,
            /// Whether it was delivered before, here or elsewhere.
            redelivered: redelivered,
            /// The exchange it was published to.
            exchange: exchange_name,
            /// The routing key it was published with.
            routing_key: shortstr,
        }
        /// Asks for one message.
        "get" 70 BasicGet(Get<'a>) [to_server sync] -> ["get-ok", "get-empty"] {
            [reserved_1: short]
            /// The queue.
            queue: queue_name,
            /// It counts as acknowledged when it is sent.
            no_ack: no_ack,
        }
        /// Here is one; it follows.
        "get-ok" 71 BasicGetOk(GetOk<'a>) [to_client sync content] {
            /// Number of the delivery on this channel, from 1.
            delivery_tag: delivery_tag,
            /// Whether it was delivered before.
            redelivered: redelivered,
            /// The exchange it was published to.
            exchange: exchange_name,
            /// The routing key it was published with.
            routing_key: shortstr,
            /// Messages still in the queue.
            message_count: message_count,
        }
        /// There is none.
        "get-empty" 72 BasicGetEmpty(GetEmpty) [to_client sync] { [reserved_1: shortstr] }
        /// Deliveries are done; from the server: publishes are confirmed.
        "ack" 80 BasicAck(Ack) [to_server to_client] {
            /// Which one; 0 with `multiple` for all so far.
            delivery_tag: delivery_tag,
            /// It and all before it.
            multiple: bit,
        }
        /// A delivery is refused.
        "reject" 90 BasicReject(Reject) [to_server] {
            /// Which one.
            delivery_tag: delivery_tag,
            /// Back to the queue, instead of dead-lettered or dropped.
            requeue: bit,
        }
        /// Asks for all unacknowledged deliveries again, without an answer. Deprecated.
        "recover-async" 100 BasicRecoverAsync(RecoverAsync) [to_server] {
            /// Back to the queue, instead of to the same consumer.
            requeue: bit,
        }
        /// Asks for all unacknowledged deliveries again. The server answers with `recover-ok`, although the
        /// specification does not list that as its reply.
        "recover" 110 BasicRecover(Recover) [to_server] {
            /// Back to the queue, instead of to the same consumer.
            requeue: bit,
        }
        /// They will come again.
        "recover-ok" 111 BasicRecoverOk(RecoverOk) [to_client sync] {}
        /// RabbitMQ: deliveries are refused; from the server: publishes are lost.
        "nack" 120 BasicNack(Nack) [to_server to_client] {
            /// Which one; 0 with `multiple` for all so far.
            delivery_tag: delivery_tag,
            /// It and all before it.
            multiple: bit,
            /// Back to the queue, instead of dead-lettered or dropped.
            requeue: bit,
        }
    }

    /// Transactions on a channel.
    class tx 90 {
        /// Makes the channel transactional.
        "select" 10 TxSelect(Select) [to_server sync] -> ["select-ok"] {}
        /// It is transactional.
        "select-ok" 11 TxSelectOk(SelectOk) [to_client sync] {}
        /// Makes all publishes and acks since the last commit take effect.
        "commit" 20 TxCommit(Commit) [to_server sync] -> ["commit-ok"] {}
        /// They took effect.
        "commit-ok" 21 TxCommitOk(CommitOk) [to_client sync] {}
        /// Drops all publishes and acks since the last commit.
        "rollback" 30 TxRollback(Rollback) [to_server sync] -> ["rollback-ok"] {}
        /// They are dropped.
        "rollback-ok" 31 TxRollbackOk(RollbackOk) [to_client sync] {}
    }

    /// RabbitMQ: publisher confirms.
    class confirm 85 {
        /// Makes the server confirm each publish on this channel.
        "select" 10 ConfirmSelect(Select) [to_server sync] -> ["select-ok"] {
            /// Whether no answer is wanted.
            nowait: bit,
        }
        /// It will.
        "select-ok" 11 ConfirmSelectOk(SelectOk) [to_client sync] {}
    }
}
