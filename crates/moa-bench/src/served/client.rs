//! A client of the API: one connection, one request at a time, no more work than it takes.

use anyhow::{Context, Result, ensure};
use serde_json::Value as Json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
    address: String,
}

impl Client {
    /// Connects.
    pub async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("the server")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address: address.to_owned() })
    }

    /// The body of what is at a path.
    pub async fn get(&mut self, token: &str, path: &str) -> Result<Vec<u8>> {
        self.call("GET", token, path, "").await
    }

    /// What is at a path, as JSON.
    pub async fn json(&mut self, token: &str, path: &str) -> Result<Json> {
        Ok(serde_json::from_slice(&self.get(token, path).await?)?)
    }

    /// Sends a document; answers the one that comes back.
    pub async fn post(&mut self, token: &str, path: &str, body: &Json) -> Result<Json> {
        Ok(serde_json::from_slice(&self.call("POST", token, path, &body.to_string()).await?)?)
    }

    async fn call(&mut self, method: &str, token: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        let (host, length) = (&self.address, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let status = self.line().await?;
        let mut length = None;
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let mut body = vec![0; length.with_context(|| format!("{path} has no length"))?];
        self.stream.read_exact(&mut body).await?;
        let said = || String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
        ensure!(status.contains(" 20"), "{method} {path}: {status} {}", said());
        Ok(body)
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line).await? > 0, "the server has closed");
        Ok(line.trim_end().to_owned())
    }
}
