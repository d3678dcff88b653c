//! A test on every driver.

/// Makes a test of a function that takes a driver: one for each.
macro_rules! on_every_driver {
    ($(#[$attribute:meta])* fn $name:ident($driver:ident: Driver $(,)?) $body:block) => {
        fn $name($driver: Driver) $body

        mod $name {
            use amqp_uring::Driver;

            #[test]
            $(#[$attribute])*
            fn uring() {
                super::$name(Driver::Uring);
            }

            #[test]
            $(#[$attribute])*
            fn epoll() {
                super::$name(Driver::Epoll);
            }

            #[cfg(feature = "tokio-uring")]
            #[test]
            $(#[$attribute])*
            fn tokio_uring() {
                super::$name(Driver::TokioUring);
            }
        }
    };
}
pub(crate) use on_every_driver;
