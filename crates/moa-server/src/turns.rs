//! Work that takes long and much memory: one at a time, and few may wait for it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Problem, Result};

/// How many are under way or wait for their turn, at most.
const PLACES: usize = 9;

/// Whose turn it is.
pub struct Turns {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _place: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Self {
        let of = |permits| Arc::new(Semaphore::new(permits));
        Self { places: of(PLACES), turn: of(1) }
    }
}

impl Turns {
    /// Waits until those before have done.
    ///
    /// # Errors
    /// Too many wait.
    pub async fn next(&self) -> Result<Turn> {
        let busy = |_| Problem::busy("too many ask for this at once");
        let place = self.places.clone().try_acquire_owned().map_err(busy)?;
        let closed = |_| Problem::busy("the node is stopping");
        let turn = self.turn.clone().acquire_owned().await.map_err(closed)?;
        Ok(Turn { _place: place, _turn: turn })
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::error::Code;

    #[test]
    fn one_has_its_turn_few_wait_and_the_others_are_told_to_come_again() {
        let turns = Turns::default();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(first)) = pin!(turns.next()).poll(&mut context) else {
            panic!("nobody is before it");
        };
        let mut waiting: Vec<_> = (1..PLACES).map(|_| Box::pin(turns.next())).collect();
        for one in &mut waiting {
            assert!(one.as_mut().poll(&mut context).is_pending());
        }
        let Poll::Ready(Err(refused)) = pin!(turns.next()).poll(&mut context) else {
            panic!("too many wait");
        };
        assert_eq!(refused.code, Code::Busy);
        assert!(refused.retry_after.is_some());
        drop(first);
        let Poll::Ready(Ok(_second)) = waiting[0].as_mut().poll(&mut context) else {
            panic!("it is its turn");
        };
        assert!(waiting[1].as_mut().poll(&mut context).is_pending());
        // Who goes away leaves a place.
        waiting.truncate(2);
        assert!(pin!(turns.next()).poll(&mut context).is_pending());
    }
}
