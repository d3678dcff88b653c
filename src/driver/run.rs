//! Where a worker with a driver runs.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{Driver, DriverError};

/// Runs a worker on this thread until it is done. Its driver is made inside of it: one that lives in a runtime finds the
/// runtime there, which is made for it here; one that has its thread for itself blocks in its turns, so that the worker's
/// future is ready when it is polled first.
///
/// # Errors
///
/// [`DriverError::Runtime`] when there is no runtime to be had.
pub(crate) fn run<T>(driver: Driver, worker: impl Future<Output = T>) -> Result<T, DriverError> {
    match driver {
        #[cfg(feature = "tokio-uring")]
        Driver::TokioUring => {
            let runtime = ::tokio_uring::Runtime::new(&::tokio_uring::builder())
                .map_err(|error| DriverError::Runtime(error.to_string()))?;
            Ok(runtime.block_on(worker))
        }
        _ => match pin!(worker).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Ok(outcome),
            Poll::Pending => Err(DriverError::Runtime(
                "a driver that blocks did not, which is a bug".to_owned(),
            )),
        },
    }
}
