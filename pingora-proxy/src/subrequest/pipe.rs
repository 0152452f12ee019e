//! Answering a request with the response of a subrequest.
//!
//! [`pipe_subrequest`] joins the two: the request body of the client goes to the subrequest if it
//! asks for it, its response goes to the client, piece by piece. Nothing is buffered beyond a few
//! pieces each way: whichever side is slow makes the other one wait.

use bytes::Bytes;
use log::debug;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::subrequest::server::SubrequestHandle;
use pingora_error::{BError, Error, ErrorType::ReadError, Result};
use tokio::sync::mpsc::{OwnedPermit, Receiver, Sender};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{PreparedSubrequest, Session};

/// A request body that is at hand.
#[derive(Clone, Debug)]
pub enum InputBody {
    /// There is none.
    NoBody,
    /// These pieces.
    Bytes(Vec<Bytes>),
}

impl InputBody {
    /// Returns whether there are no bytes in it.
    pub fn is_body_empty(&self) -> bool {
        match self {
            InputBody::NoBody => true,
            InputBody::Bytes(pieces) => pieces.iter().all(Bytes::is_empty),
        }
    }
}

impl From<SavedBody> for InputBody {
    /// Returns what was saved, whole or not.
    fn from(body: SavedBody) -> Self {
        if body.pieces.is_empty() {
            InputBody::NoBody
        } else {
            InputBody::Bytes(body.pieces)
        }
    }
}

/// Where the request body of a subrequest comes from.
pub enum InputBodyType {
    /// It is this one, whatever the client sends.
    Preset(InputBody),
    /// It is the one the client sends; up to this many bytes of it are saved for another use.
    SaveBody(usize),
}

/// The start of a request body, kept while it is passed on.
///
/// ```
/// use pingora_proxy::subrequest::pipe::SavedBody;
///
/// let mut saved = SavedBody::new(8);
/// assert!(saved.save_body_bytes("hello".into()));
/// saved.set_body_complete();
/// assert!(saved.is_body_complete());
///
/// let mut short = SavedBody::new(2);
/// assert!(!short.save_body_bytes("hello".into()), "too long to be saved");
/// short.set_body_complete();
/// assert!(!short.is_body_complete());
/// ```
#[derive(Clone, Debug)]
pub struct SavedBody {
    pieces: Vec<Bytes>,
    room: usize,
    /// Something did not fit.
    truncated: bool,
    complete: bool,
}

impl SavedBody {
    /// Returns an empty one with room for `max_length` bytes.
    pub fn new(max_length: usize) -> Self {
        SavedBody {
            pieces: Vec::new(),
            room: max_length,
            truncated: false,
            complete: false,
        }
    }

    /// Keeps a piece; returns whether it fitted. Once one did not, none does.
    pub fn save_body_bytes(&mut self, body_bytes: Bytes) -> bool {
        match self.room.checked_sub(body_bytes.len()) {
            Some(room) if !self.truncated => {
                self.room = room;
                if !body_bytes.is_empty() {
                    self.pieces.push(body_bytes);
                }
                true
            }
            _ => {
                self.truncated = true;
                false
            }
        }
    }

    /// Notes that the body has ended.
    pub fn set_body_complete(&mut self) {
        self.complete = true;
    }

    /// Returns whether the whole body was kept.
    pub fn is_body_complete(&self) -> bool {
        self.complete && !self.truncated
    }
}

/// How far a piped subrequest got.
#[derive(Debug, Default)]
pub struct PipeSubrequestState {
    /// The head of its final response was received.
    pub header_received: bool,
    /// The task it runs in.
    pub join_handle: Option<JoinHandle<()>>,
    /// What is left of its response, after an error: while it is kept the subrequest goes on.
    pub pipe_rx: Option<Receiver<HttpTask>>,
    /// The request body that was saved, with [`InputBodyType::SaveBody`].
    pub saved_body: Option<SavedBody>,
}

impl PipeSubrequestState {
    /// Takes the state out, to be returned with an error.
    pub fn snapshot_for_error(&mut self) -> Self {
        std::mem::take(self)
    }
}

/// Why a subrequest could not be piped to its end.
#[derive(Debug)]
pub struct PipeSubrequestError {
    /// What failed.
    pub error: Box<Error>,
    /// It was the subrequest, not the client, a module or the filter.
    pub from_subreq: bool,
    /// How far it got.
    pub state: PipeSubrequestState,
}

impl PipeSubrequestError {
    /// Returns an error.
    pub fn new(error: impl Into<BError>, from_subreq: bool, state: PipeSubrequestState) -> Self {
        PipeSubrequestError {
            error: error.into(),
            from_subreq,
            state,
        }
    }
}

/// Runs `subrequest` and answers the request of `session` with its response.
///
/// `task_filter` sees every piece of the response before the modules of `session` do; it may
/// change it, hold it back (`None`), or end the pipe with an error. The client's body is read only
/// if the subrequest asks for it and `input_body` says that it is the client's.
///
/// # Errors
/// Of the subrequest, when its response breaks off; of the filter; of the client, when it goes
/// away or its body cannot be read. The error says which, and keeps what is needed to go on.
///
/// Not cancel-safe: dropped, it leaves a response that has begun without its end. The subrequest
/// then ends with an error.
///
/// ```
/// use pingora_error::Result;
/// use pingora_proxy::Session;
/// use pingora_proxy::subrequest::Ctx;
/// use pingora_proxy::subrequest::pipe::{InputBody, InputBodyType, pipe_subrequest};
///
/// /// For `request_filter`: answers with what the own proxy says to `/banner`.
/// async fn answer_with_banner(session: &mut Session) -> Result<bool> {
///     let Some(spawner) = session.subrequest_spawner.clone() else {
///         return Ok(false);
///     };
///     let (mut subrequest, handle) = spawner.create_subrequest(session, Ctx::builder().build());
///     let head = subrequest.session_mut().req_header_mut();
///     head.set_uri(http::Uri::from_static("/banner"));
///     let body = InputBodyType::Preset(InputBody::NoBody);
///     let piped = pipe_subrequest(session, subrequest, handle, |piece| Ok(Some(piece)), body).await;
///     piped.map(|_| true).map_err(|failed| failed.error)
/// }
/// ```
pub async fn pipe_subrequest<F>(
    session: &mut Session,
    mut subrequest: PreparedSubrequest,
    subrequest_handle: SubrequestHandle,
    mut task_filter: F,
    input_body: InputBodyType,
) -> Result<PipeSubrequestState, PipeSubrequestError>
where
    F: FnMut(HttpTask) -> Result<Option<HttpTask>>,
{
    let mut state = PipeSubrequestState::default();
    let source = match Source::new(input_body, &mut subrequest, &mut state) {
        Ok(source) => source,
        Err(e) => return Err(PipeSubrequestError::new(e, false, state)),
    };
    state.join_handle = Some(tokio::spawn(subrequest.run()));
    let SubrequestHandle {
        tx,
        rx,
        subreq_wants_body,
        mut subreq_proxy_error,
    } = subrequest_handle;
    let mut pipe = Pipe {
        session,
        rx,
        body: Body::Unasked(tx, subreq_wants_body),
        source,
        state,
    };
    match pipe.run(&mut task_filter, &mut subreq_proxy_error).await {
        Ok(()) => Ok(pipe.state),
        Err(failure) => {
            pipe.state.pipe_rx = Some(pipe.rx);
            let state = pipe.state.snapshot_for_error();
            let (error, from_subreq) = match failure {
                Failure::Subrequest(e) => (e, true),
                Failure::Ours(e) => (e, false),
            };
            Err(PipeSubrequestError::new(error, from_subreq, state))
        }
    }
}

/// Where the pieces of the body come from.
enum Source {
    Preset(std::vec::IntoIter<Bytes>),
    Client,
}

impl Source {
    /// Makes the head of the subrequest announce the body it gets.
    fn new(
        input: InputBodyType,
        subrequest: &mut PreparedSubrequest,
        state: &mut PipeSubrequestState,
    ) -> Result<Self> {
        let preset = match input {
            InputBodyType::SaveBody(max_length) => {
                state.saved_body = Some(SavedBody::new(max_length));
                return Ok(Source::Client);
            }
            InputBodyType::Preset(preset) => preset,
        };
        let session = subrequest.session_mut().as_subrequest_mut();
        let empty = preset.is_body_empty();
        let pieces = match preset {
            InputBody::Bytes(pieces) if !empty => pieces,
            _ => Vec::new(),
        };
        if let Some(session) = session {
            if empty {
                session.clear_request_body_headers();
            } else {
                session.set_request_body_length(pieces.iter().map(Bytes::len).sum())?;
            }
        }
        Ok(Source::Preset(pieces.into_iter()))
    }
}

/// How far the request body is.
enum Body {
    /// The subrequest has not asked for it.
    Unasked(Sender<HttpTask>, oneshot::Receiver<()>),
    /// The next piece waits for room.
    NoRoom(Sender<HttpTask>),
    /// There is room for the next piece.
    Room(OwnedPermit<HttpTask>),
    /// All was sent, or no more is wanted.
    Done,
}

enum Event {
    /// A piece of the response.
    Response(Option<HttpTask>),
    /// The body is wanted, or never will be.
    Asked(bool),
    /// There is room for a piece of the body, or it is not wanted any more.
    Room(Option<OwnedPermit<HttpTask>>),
    /// A piece of the body of the client, its end, or its end of the connection.
    Client(Result<Option<Bytes>>),
}

enum Failure {
    Subrequest(BError),
    Ours(BError),
}

struct Pipe<'a> {
    session: &'a mut Session,
    rx: Receiver<HttpTask>,
    body: Body,
    source: Source,
    state: PipeSubrequestState,
}

impl Pipe<'_> {
    async fn run<F>(
        &mut self,
        filter: &mut F,
        failed: &mut oneshot::Receiver<BError>,
    ) -> Result<(), Failure>
    where
        F: FnMut(HttpTask) -> Result<Option<HttpTask>>,
    {
        // Until the response has ended; every wait ends with the subrequest or the client.
        loop {
            match self.next_event().await {
                Event::Response(Some(task)) => {
                    if self.on_response(task, filter).await? {
                        return Ok(());
                    }
                }
                Event::Response(None) => {
                    let why = failed.try_recv().unwrap_or_else(|_| broken_off());
                    return Err(Failure::Subrequest(why));
                }
                Event::Asked(wanted) => self.on_asked(wanted),
                Event::Room(Some(room)) => {
                    self.body = Body::Room(room);
                    self.send_preset();
                }
                Event::Room(None) => self.body = Body::Done,
                Event::Client(piece) => self.on_client(piece.map_err(Failure::Ours)?),
            }
        }
    }

    /// Cancel-safe parts only: what is not returned is not taken.
    async fn next_event(&mut self) -> Event {
        let reads_body = matches!((&self.body, &self.source), (Body::Room(_), Source::Client));
        let asked = async {
            match &mut self.body {
                // Cancel-safe: polled again by reference.
                Body::Unasked(_, asked) => Event::Asked(asked.await.is_ok()),
                // Cancel-safe: without a permit taken nothing is lost but the place in the queue,
                // which has no other user.
                Body::NoRoom(tx) => Event::Room(tx.clone().reserve_owned().await.ok()),
                Body::Room(_) | Body::Done => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // Cancel-safe.
            task = self.rx.recv() => Event::Response(task),
            event = asked => event,
            // Cancel-safe; ends with an error when the client goes away.
            piece = self.session.downstream_session.read_body_or_idle(!reads_body) => {
                Event::Client(piece)
            }
        }
    }

    /// Returns whether the response has ended.
    async fn on_response<F>(&mut self, task: HttpTask, filter: &mut F) -> Result<bool, Failure>
    where
        F: FnMut(HttpTask) -> Result<Option<HttpTask>>,
    {
        if let HttpTask::Failed(e) = task {
            return Err(Failure::Subrequest(e));
        }
        if let HttpTask::Header(head, _) = &task {
            self.state.header_received |= !head.status().is_informational() || is_switch(head);
        }
        let end = task.is_end();
        if let Some(task) = filter(task).map_err(Failure::Ours)? {
            self.session
                .write_response_tasks(vec![task])
                .await
                .map_err(Failure::Ours)?;
        }
        Ok(end)
    }

    fn on_asked(&mut self, wanted: bool) {
        self.body = match std::mem::replace(&mut self.body, Body::Done) {
            Body::Unasked(tx, _) if wanted => Body::NoRoom(tx),
            _ => Body::Done,
        };
    }

    fn send_preset(&mut self) {
        let Source::Preset(pieces) = &mut self.source else {
            return;
        };
        let next = pieces.next();
        self.send(next, false);
    }

    fn on_client(&mut self, piece: Option<Bytes>) {
        let end = self.session.is_body_done();
        if let Some(saved) = &mut self.state.saved_body {
            if let Some(data) = &piece {
                saved.save_body_bytes(data.clone());
            }
            if end || piece.is_none() {
                saved.set_body_complete();
            }
        }
        self.send(piece, end);
    }

    /// Sends a piece into the room there is; `None` is the end.
    fn send(&mut self, piece: Option<Bytes>, end: bool) {
        let Body::Room(room) = std::mem::replace(&mut self.body, Body::Done) else {
            return;
        };
        let end = end || piece.is_none();
        let tunnel = self.session.was_upgraded();
        let tx = room.send(if tunnel {
            HttpTask::UpgradedBody(piece, end)
        } else {
            HttpTask::Body(piece, end)
        });
        if !end {
            self.body = Body::NoRoom(tx);
        } else {
            debug!("request body of the subrequest sent");
        }
    }
}

fn is_switch(head: &pingora_http::ResponseHeader) -> bool {
    head.status() == http::StatusCode::SWITCHING_PROTOCOLS
}

#[cold]
fn broken_off() -> BError {
    Error::explain(ReadError, "the response of the subrequest broke off").into_in()
}
