//! The methods of class `exchange`.

use super::context::{Context, name, text};
use super::refusal::Refusal;
use super::routing::Destination;
use crate::protocol::exchange::{
    Bind, BindOk, Declare, DeclareOk, Delete, DeleteOk, Unbind, UnbindOk,
};

impl Context<'_> {
    pub fn exchange_declare(&mut self, declare: &Declare<'_>) -> Result<(), Refusal> {
        let name = &*name(declare.exchange)?;
        if declare.passive {
            self.vhost.exchanges.check(name)?;
        } else {
            self.vhost.exchanges.declare(
                name,
                text(declare.type_)?,
                declare.durable,
                declare.auto_delete,
                declare.internal,
                declare.arguments,
            )?;
        }
        self.reply_unless(declare.no_wait, DeclareOk {});
        Ok(())
    }

    pub fn exchange_delete(&mut self, delete: &Delete<'_>) -> Result<(), Refusal> {
        let name = name(delete.exchange)?;
        self.vhost.exchanges.delete(&name, delete.if_unused)?;
        self.reply_unless(delete.no_wait, DeleteOk {});
        Ok(())
    }

    pub fn exchange_bind(&mut self, bind: &Bind<'_>) -> Result<(), Refusal> {
        let (destination, source) = (name(bind.destination)?, name(bind.source)?);
        let (destination, key) = (Destination::Exchange(&destination), text(bind.routing_key)?);
        self.vhost
            .exchanges
            .bind(&source, destination, key, bind.arguments)?;
        self.reply_unless(bind.no_wait, BindOk {});
        Ok(())
    }

    pub fn exchange_unbind(&mut self, unbind: &Unbind<'_>) -> Result<(), Refusal> {
        let (destination, source) = (name(unbind.destination)?, name(unbind.source)?);
        let (destination, key) = (
            Destination::Exchange(&destination),
            text(unbind.routing_key)?,
        );
        self.vhost
            .exchanges
            .unbind(&source, destination, key, unbind.arguments)?;
        self.reply_unless(unbind.no_wait, UnbindOk {});
        Ok(())
    }
}
