//! Sends requests to servers that others name.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use reqwest::{
    Client, Method, Proxy, StatusCode, Url,
    header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, LOCATION},
};
use tokio::time::{Instant, timeout};

use super::{
    Outbound,
    error::{Destination, OutboundError},
    factory::{ClientFactory, Trust},
    limits::Limits,
    policy::{Policy, Purpose, Refused},
    progress::Progress,
    proxy::NoProxy,
    rate::RateTable,
    redirect::{self, RedirectError},
    target,
};

/// Maximum size of a response header, in bytes. hyper itself reads at most 408 KiB.
const MAX_HEADER_BYTES: usize = 64 << 10;

/// Sends requests of one purpose. Clones share the same connections.
#[derive(Clone)]
pub struct OutboundClient {
    direct: Client,
    proxied: Option<Client>,
    factory: Arc<ClientFactory>,
    rates: RateTable,
    no_proxy: NoProxy,
    policy: Arc<Policy>,
    purpose: Purpose,
    limits: Limits,
}

impl fmt::Debug for OutboundClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundClient").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// A request. Its headers and its URL may contain secrets, and are not printed.
#[derive(Clone)]
pub struct OutboundRequest {
    method: Method,
    url: Url,
    headers: Result<HeaderMap, InvalidHeader>,
    body: Option<Bytes>,
}

/// Marks a request with a header that cannot be sent.
#[derive(Clone, Copy)]
struct InvalidHeader;

/// A request and the server that it is for, which a redirect changes.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    destination: Destination,
}

impl fmt::Debug for OutboundRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

impl OutboundRequest {
    /// Creates a GET request.
    ///
    /// # Errors
    /// [`OutboundError::Url`] if the URL is not one of HTTP.
    pub fn get(url: &str) -> Result<Self, OutboundError> {
        Ok(Self { method: Method::GET, url: target::parse(url)?, headers: Ok(HeaderMap::new()), body: None })
    }

    /// Creates a POST request.
    ///
    /// # Errors
    /// [`OutboundError::Url`] if the URL is not one of HTTP.
    pub fn post(url: &str, body: impl Into<Bytes>) -> Result<Self, OutboundError> {
        Ok(Self { method: Method::POST, body: Some(body.into()), ..Self::get(url)? })
    }

    /// Sets a header. Its value is not printed.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: impl AsRef<[u8]>) -> Self {
        self.headers = self.headers.and_then(|mut headers| {
            let mut value = HeaderValue::from_bytes(value.as_ref()).map_err(|_| InvalidHeader)?;
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok(headers)
        });
        self
    }
}

impl Outbound {
    /// Creates a client for a purpose.
    ///
    /// # Errors
    /// [`OutboundError::Client`] if what it trusts cannot be used.
    pub fn client(&self, purpose: Purpose, trust: &Trust) -> Result<OutboundClient, OutboundError> {
        self.client_with(purpose, trust, Limits::of(purpose))
    }

    pub(super) fn client_with(
        &self,
        purpose: Purpose,
        trust: &Trust,
        limits: Limits,
    ) -> Result<OutboundClient, OutboundError> {
        let (lookup, policy) = (Arc::clone(&self.lookup), Arc::clone(&self.policy));
        let factory = ClientFactory {
            lookup,
            policy,
            purpose,
            trust: trust.clone(),
            limits,
            by_port: parking_lot::Mutex::default(),
        };
        // BMCs and agents are not reached through a proxy.
        let is_proxied = !matches!(purpose, Purpose::Redfish | Purpose::AgentCallback | Purpose::StandInCallback);
        let proxy = self.proxy.clone().filter(|_| is_proxied);
        let proxied = proxy.map(|url| factory.builder().proxy(Proxy::all(url)?).build());
        Ok(OutboundClient {
            direct: factory.direct(None)?,
            proxied: proxied.transpose().map_err(OutboundError::Client)?,
            factory: Arc::new(factory),
            rates: self.rates.clone(),
            no_proxy: self.no_proxy.clone(),
            policy: Arc::clone(&self.policy),
            purpose,
            limits,
        })
    }
}

impl OutboundClient {
    /// Changes the maximum size of a body, in bytes.
    #[must_use]
    pub fn with_max_bytes(mut self, max_bytes: u64) -> Self {
        self.limits.max_bytes = max_bytes;
        self
    }

    /// Sends a request, and follows redirects if the purpose allows them. Each destination is checked.
    ///
    /// # Errors
    /// [`OutboundError`] says what happened, in our words.
    pub async fn send(&self, request: OutboundRequest) -> Result<OutboundResponse, OutboundError> {
        let OutboundRequest { method, url, headers, body } = request;
        let mut headers = headers.map_err(|InvalidHeader| OutboundError::Header)?;
        headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        let (mut deadline, mut patience) = (None, self.limits.turn);
        let destination = Destination { host: target::host_and_port(&url), is_redirected: false };
        let mut hop = Hop { method, url, headers, body, destination };
        for _ in 0..=self.limits.redirects {
            let client = self.client_for(&hop)?;
            let waited = self.wait_for_turn(&hop, patience).await?;
            patience = patience.saturating_sub(waited);
            // The wait for a turn is not the server's.
            deadline = match deadline {
                None => self.limits.total.map(|total| Instant::now() + total),
                Some(deadline) => Some(deadline + waited),
            };
            let response = self.exchange(&client, &hop, deadline).await?;
            if self.limits.redirects == 0 || !redirect::is_redirect(&hop.method, response.status()) {
                return Ok(OutboundResponse {
                    progress: Progress::new(self.limits.window, self.limits.min_bytes),
                    response,
                    destination: hop.destination,
                    limits: self.limits,
                    deadline,
                    received: 0,
                });
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = redirect::next(&hop.url, location).map_err(|why| match why {
                RedirectError::Invalid => OutboundError::Redirect(hop.destination.clone()),
                RedirectError::Downgrade => OutboundError::Downgrade(hop.destination.clone()),
            })?;
            redirect::keep_headers(&mut hop.headers, &hop.url, &next);
            (hop.url, hop.destination.is_redirected) = (next, true);
        }
        hop.destination.is_redirected = false;
        Err(OutboundError::Redirect(hop.destination))
    }

    /// Sends one request and reads the header of its response.
    async fn exchange(
        &self,
        client: &Client,
        hop: &Hop,
        deadline: Option<Instant>,
    ) -> Result<reqwest::Response, OutboundError> {
        let mut request = client.request(hop.method.clone(), hop.url.clone()).headers(hop.headers.clone());
        if let Some(body) = &hop.body {
            request = request.body(body.clone());
        }
        let destination = || hop.destination.clone();
        let limit = deadline.map_or(self.limits.header, |end| end.saturating_duration_since(Instant::now()));
        let limit = limit.min(self.limits.header);
        let sent = timeout(limit, request.send()).await;
        let silent = |_| OutboundError::Silent { destination: destination(), limit };
        let response = sent.map_err(silent)?.map_err(|error| {
            let error = error.without_url();
            tracing::debug!(destination = %hop.destination, error = crate::status::chain(&error), "request failed");
            OutboundError::of(&error, destination())
        })?;
        let size: usize = response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if size > MAX_HEADER_BYTES {
            return Err(OutboundError::HeaderTooLarge { destination: destination(), limit: MAX_HEADER_BYTES });
        }
        Ok(response)
    }

    /// Waits until the server may be sent another request, at most as long as `limit`. Returns how long that took.
    async fn wait_for_turn(&self, hop: &Hop, limit: Duration) -> Result<Duration, OutboundError> {
        let begun = Instant::now();
        let wait = self.rates.take(self.purpose, target::host_and_port(&hop.url), limit, begun);
        if wait > limit {
            return Err(OutboundError::TooMany { destination: hop.destination.clone(), wait });
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(begun.elapsed())
    }

    /// Returns the client for a URL. Checks the address if the URL has one: the resolver is not asked about it. Through a
    /// proxy no name is resolved here, so that the proxy must refuse what names resolve to; the address of the proxy is that of
    /// the configuration.
    fn client_for(&self, hop: &Hop) -> Result<Client, OutboundError> {
        let url = &hop.url;
        let port = url.port_or_known_default().unwrap_or_default();
        let proxied = self.proxied.as_ref().filter(|_| !self.no_proxy.contains(url));
        let address = if proxied.is_some() { target::known_address(url) } else { target::literal(url) };
        if let Some(address) = address {
            self.policy.check(self.purpose, address, port).map_err(|Refused { address, class }| {
                let purpose = self.purpose;
                tracing::warn!(%address, port, ?class, ?purpose, "refused a request to an address that is not allowed");
                OutboundError::Refused(hop.destination.clone())
            })?;
        }
        match proxied {
            Some(proxied) => Ok(proxied.clone()),
            None if self.policy.singles_out(port) => self.factory.of_port(port),
            None => Ok(self.direct.clone()),
        }
    }
}

/// A response. Its body is read piece by piece, within the limits.
#[derive(Debug)]
pub struct OutboundResponse {
    response: reqwest::Response,
    destination: Destination,
    limits: Limits,
    deadline: Option<Instant>,
    progress: Progress,
    received: u64,
}

impl OutboundResponse {
    /// Returns the status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Returns a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the announced size of the body, in bytes.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Returns the next piece of the body. Cancel safe.
    ///
    /// # Errors
    /// [`OutboundError`] if the body is too large, the server is too slow, or the connection is interrupted.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, OutboundError> {
        let destination = || self.destination.clone();
        let limit = self.limits.max_bytes;
        if self.received == 0 && self.content_length().is_some_and(|size| size > limit) {
            return Err(OutboundError::TooLarge { destination: destination(), limit });
        }
        loop {
            let begun = Instant::now();
            let left = self.deadline.map(|end| end.saturating_duration_since(begun));
            let wait = left.into_iter().fold(self.progress.left(), Duration::min);
            let chunk = timeout(wait, self.response.chunk()).await;
            let piece = match chunk {
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(piece))) => Some(piece),
                Ok(Err(error)) => {
                    tracing::debug!(error = crate::status::chain(&error.without_url()), "a response was interrupted");
                    return Err(OutboundError::Interrupted(destination()));
                }
                Err(_) => None,
            };
            let bytes = piece.as_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap_or(u64::MAX));
            self.received = self.received.saturating_add(bytes);
            if self.received > limit {
                return Err(OutboundError::TooLarge { destination: destination(), limit });
            }
            if !self.progress.add(begun.elapsed(), bytes) {
                let Limits { min_bytes, window, .. } = self.limits;
                return Err(OutboundError::Slow { destination: destination(), min_bytes, window });
            }
            if let (Some(end), Some(total)) = (self.deadline, self.limits.total)
                && Instant::now() >= end
            {
                return Err(OutboundError::Silent { destination: destination(), limit: total });
            }
            if piece.is_some() {
                return Ok(piece);
            }
        }
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// As [`Self::chunk`].
    pub async fn body(mut self) -> Result<Vec<u8>, OutboundError> {
        let mut body = Vec::new();
        while let Some(piece) = self.chunk().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}
