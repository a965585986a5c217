//! Tickets in line: how they are queued, told of their grant, refused and withdrawn. All of it happens
//! under the manager's mutex; the ticket's own word decides who was first.

use super::core::{Locked, Waiter};
use super::table::{Outcome, OwnerId, Request};
use super::ticket::Ticket;
use crate::error::Error;
use std::sync::Arc;

impl Locked<'_> {
    /// Asks the table for the locks of a ticket, which is told of the grant or waits in line.
    pub(crate) fn line_up(&mut self, ticket: &Arc<Ticket>) {
        let owner = ticket.owner;
        let (outcome, effects) = self.table.request(Request {
            owner,
            wants: ticket.wants(),
            age: ticket.age,
            hold: false,
            inside: false,
        });
        match outcome {
            Outcome::Granted => self.granted(owner, ticket),
            _ => {
                self.queued += 1;
                if let Some(deadline) = ticket.deadline {
                    self.deadlines.insert((deadline, owner));
                }
                let wait = (Waiter::Ticket(ticket.clone()), ticket.wake.clone());
                self.waits.insert(owner, wait);
            }
        }
        self.finish(effects);
    }

    /// Ends the wait of a ticket with an error; false if it does not wait.
    pub(crate) fn refuse_ticket(&mut self, ticket: &Ticket, error: Error) -> bool {
        let now = self.core().now();
        if !ticket.refuse(error) {
            return false;
        }
        for lease in self.all_holds() {
            lease.note_wait(ticket.since, now);
        }
        self.wakers.extend(ticket.waker.lock().take());
        self.withdraw(ticket);
        true
    }

    /// Removes a ticket that was cancelled, whatever it holds or waits for.
    pub(crate) fn withdraw(&mut self, ticket: &Ticket) {
        if self.waits.remove(&ticket.owner).is_some() {
            self.queued -= 1;
        }
        self.tickets.remove(&ticket.owner);
        if let Some(deadline) = ticket.deadline {
            self.deadlines.remove(&(deadline, ticket.owner));
        }
        let (_, effects) = self.table.release_all(ticket.owner);
        self.finish(effects);
        ticket.wake.notify_all();
    }

    /// A ticket's locks were granted: it is told, unless it was cancelled at the same moment.
    /// Then whoever cancelled it gives the locks back.
    pub(crate) fn granted(&mut self, owner: OwnerId, ticket: &Arc<Ticket>) {
        if ticket.grant() {
            self.owners.insert(owner, ticket.info.clone());
            self.wakers.extend(ticket.waker.lock().take());
        }
        ticket.wake.notify_all();
    }
}
