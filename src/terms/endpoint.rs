//! An address and a port as the log and the messages have them. core's own way to write them makes room
//! for columns first, which nobody has here: a kilobyte.

use core::fmt;
use core::net::SocketAddr;

/// `192.0.2.7:22`, `[2001:db8::7]:22`, or `[fe80::1%2]:22`.
pub struct Endpoint(pub SocketAddr);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SocketAddr::V4(v4) => write!(f, "{}:{}", v4.ip(), v4.port()),
            SocketAddr::V6(v6) => {
                write!(f, "[{}", v6.ip())?;
                if v6.scope_id() > 0 {
                    write!(f, "%{}", v6.scope_id())?;
                }
                write!(f, "]:{}", v6.port())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_what_core_does() {
        for text in [
            "192.0.2.7:22",
            "[2001:db8::7]:22",
            "[::]:65535",
            "[fe80::1%2]:0",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Endpoint(address).to_string(), text);
            assert_eq!(address.to_string(), text);
        }
    }
}
