//! The local socket between a node and the commands that talk to it.
//!
//! One JSON document a line: a request, then one reply; after `subscribe`, replies until either
//! side closes. The first request is `hello`. Only processes of the same user (or root) are heard.
//! Absent by intent: reads; commands read the store themselves.

pub mod client;
pub mod protocol;
pub mod server;
pub mod socket;

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Bytes of one request: params at their largest, doubled by escapes, and the rest.
pub const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Bytes of one reply; a commit's events with large outputs are the largest.
pub const REPLY_BYTES_MAX: usize = 256 << 20;

/// Reads a line of at most `max` bytes, without its end; `None` at the end of the stream.
async fn read_line(
    stream: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let buffer = stream.fill_buf().await?;
        if buffer.is_empty() {
            return match line.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
        let end = buffer.iter().position(|b| *b == b'\n');
        let taken = end.unwrap_or(buffer.len());
        if line.len() + taken > max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
        }
        line.extend_from_slice(&buffer[..taken]);
        stream.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_their_ends_and_bounded() {
        let mut stream = tokio::io::BufReader::with_capacity(3, &b"ab\n\ncdefgh\n"[..]);
        assert_eq!(read_line(&mut stream, 4).await.ok(), Some(Some(b"ab".to_vec())));
        assert_eq!(read_line(&mut stream, 4).await.ok(), Some(Some(Vec::new())));
        let error = read_line(&mut stream, 4).await.expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut cut = &b"half"[..];
        assert!(read_line(&mut cut, 10).await.is_err());
        assert_eq!(read_line(&mut cut, 10).await.ok(), Some(None));
    }
}
