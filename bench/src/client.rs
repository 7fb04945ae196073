//! A keep-alive HTTP/1.1 client that does nothing but find the end of each answer.
//!
//! The driver shares a core with the upstream, so every microsecond here is one less of load.

use std::io;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Why a request got no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed.
    #[error("connection to the target failed: {0}")]
    Io(#[from] io::Error),
    /// The target closed the connection before the answer was whole.
    #[error("the target closed a kept-alive connection in the middle of an answer")]
    Closed,
    /// Not HTTP/1.1 with a length or chunks.
    #[error("the target's answer has no usable framing: {0}")]
    Framing(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Bytes of the head, blank line included.
    length: usize,
    status: u16,
    /// Bytes of the body; absent when it comes in chunks.
    body: Option<usize>,
}

/// One kept-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body: std::ops::Range<usize>,
    chunked: Vec<u8>,
}

impl Connection {
    /// Connects with no delay.
    ///
    /// # Errors
    /// When the target does not accept.
    pub async fn open(authority: &str) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(1 << 20), body: 0..0, chunked: Vec::new() })
    }

    /// Sends a request, reads the whole answer and returns its status.
    ///
    /// # Errors
    /// When the connection breaks or the answer has no end that can be found.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<u16, ClientError> {
        self.buffer.clear();
        self.chunked.clear();
        self.stream.write_all(request).await?;
        let head = loop {
            self.read_more().await?;
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
        };
        if let Some(length) = head.body {
            self.body = head.length..head.length + length;
            self.buffer.reserve(length);
            while self.buffer.len() < self.body.end {
                self.read_more().await?;
            }
        } else {
            self.body = 0..0;
            self.read_chunks(head.length).await?;
        }
        Ok(head.status)
    }

    /// The body of the last answer.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        if self.body.is_empty() { &self.chunked } else { &self.buffer[self.body.clone()] }
    }

    async fn read_more(&mut self) -> Result<(), ClientError> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(ClientError::Closed),
            _ => Ok(()),
        }
    }

    async fn read_chunks(&mut self, mut at: usize) -> Result<(), ClientError> {
        loop {
            let line = loop {
                match memmem::find(&self.buffer[at..], b"\r\n") {
                    Some(length) => break at..at + length,
                    None => self.read_more().await?,
                }
            };
            let size = chunk_size(&self.buffer[line.clone()])?;
            let data = line.end + 2..line.end + 2 + size;
            while self.buffer.len() < data.end + 2 {
                self.read_more().await?;
            }
            at = data.end + 2;
            if size == 0 {
                return Ok(());
            }
            self.chunked.extend_from_slice(&self.buffer[data]);
        }
    }
}

fn chunk_size(line: &[u8]) -> Result<usize, ClientError> {
    let bad = || ClientError::Framing(format!("chunk size {:?}", String::from_utf8_lossy(line)));
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let digits = std::str::from_utf8(digits).map_err(|_| bad())?;
    usize::from_str_radix(digits.trim(), 16).map_err(|_| bad())
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, ClientError> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes[..end]);
    let bad = || ClientError::Framing(text.clone().into_owned());
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(bad)?;
    let mut head = Head { length: end + 4, status, body: None };
    let mut framed = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            head.body = Some(value.trim().parse().map_err(|_| bad())?);
            framed = true;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framed = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    if framed { Ok(Some(head)) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one request with these pieces, each in a segment of its own.
    async fn exchange_with(pieces: &[&str]) -> Result<(u16, String), ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = async {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let mut request = [0; 4];
            stream.read_exact(&mut request).await?;
            for piece in pieces {
                stream.write_all(piece.as_bytes()).await?;
                tokio::task::yield_now().await;
            }
            Ok::<_, ClientError>(stream)
        };
        let client = async {
            let mut connection = Connection::open(&address).await?;
            let status = connection.exchange(b"ping").await?;
            Ok((status, String::from_utf8_lossy(connection.body()).into_owned()))
        };
        // the server's socket closes when both are done, or when the server is and the client waits for more
        let (answer, served) = tokio::join!(client, async { server.await.map(drop) });
        served?;
        answer
    }

    #[tokio::test]
    async fn reads_a_body_of_known_length_in_any_pieces() {
        let whole = ["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"];
        assert_eq!(exchange_with(&whole).await.unwrap(), (200, "hello".to_owned()));
        let pieces = ["HTTP/1.1 429 Too", " Many\r\ncontent-length: 5\r\n", "\r\nhe", "llo"];
        assert_eq!(exchange_with(&pieces).await.unwrap(), (429, "hello".to_owned()));
        let empty = ["HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"];
        assert_eq!(exchange_with(&empty).await.unwrap(), (204, String::new()));
    }

    #[tokio::test]
    async fn joins_chunks() {
        let pieces = [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "3\r\nhel\r",
            "\n2;x=y\r\nlo\r\n0\r\n",
            "\r\n",
        ];
        assert_eq!(exchange_with(&pieces).await.unwrap(), (200, "hello".to_owned()));
    }

    #[tokio::test]
    async fn tells_a_cut_answer_and_bad_framing_apart() {
        let cut = exchange_with(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"]).await;
        assert!(matches!(cut, Err(ClientError::Closed)));
        for bad in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 OK\r\ncontent-length: 1\r\n\r\nx", "junk\r\n\r\n"] {
            assert!(matches!(exchange_with(&[bad]).await, Err(ClientError::Framing(_))), "{bad}");
        }
        let chunk = exchange_with(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"]).await;
        assert!(matches!(chunk, Err(ClientError::Framing(_))));
    }
}
