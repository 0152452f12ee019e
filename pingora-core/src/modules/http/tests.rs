use super::*;

struct Tag {
    name: &'static str,
    seen: usize,
}

struct TagBuilder(&'static str, i16);

impl HttpModuleBuilder for TagBuilder {
    fn order(&self) -> i16 {
        self.1
    }

    fn init(&self) -> Module {
        Box::new(Tag {
            name: self.0,
            seen: 0,
        })
    }
}

#[async_trait]
impl HttpModule for Tag {
    async fn request_header_filter(&mut self, req: &mut RequestHeader) -> Result<()> {
        self.seen += 1;
        req.append_header("x-tag", self.name).map(|_| ())
    }

    fn response_body_filter(&mut self, body: &mut Option<Bytes>, _end: bool) -> Result<()> {
        if let Some(data) = body {
            *data = Bytes::from([data, self.name.as_bytes()].concat());
        }
        Ok(())
    }

    fn response_done_filter(&mut self) -> Result<Option<Bytes>> {
        Ok(Some(Bytes::from_static(self.name.as_bytes())))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

fn modules(builders: &[(&'static str, i16)]) -> HttpModuleCtx {
    let mut modules = HttpModules::new();
    for (name, order) in builders {
        modules.add_module(Box::new(TagBuilder(name, *order)));
    }
    modules.build_ctx()
}

#[tokio::test]
async fn modules_run_in_order() {
    let mut ctx = modules(&[("b", 1), ("a", 5), ("c", 1), ("last", -5)]);
    let mut req = RequestHeader::build("GET", b"/", None).unwrap();
    ctx.request_header_filter(&mut req).await.unwrap();
    let tags: Vec<_> = req.headers.get_all("x-tag").iter().collect();
    assert_eq!(tags, ["a", "b", "c", "last"]);
}

#[test]
fn bytes_at_the_end_pass_through_the_modules_behind() {
    let mut ctx = modules(&[("b", 0), ("a", 1)]);
    assert_eq!(ctx.response_done_filter().unwrap().unwrap(), "abb");
}

#[test]
fn modules_are_found_by_type() {
    let mut ctx = modules(&[("a", 0)]);
    ctx.get_mut::<Tag>().unwrap().seen = 7;
    assert_eq!(ctx.get::<Tag>().unwrap().seen, 7);
    assert!(ctx.get::<String>().is_none());
    assert!(HttpModuleCtx::empty().get::<Tag>().is_none());
}

#[tokio::test]
async fn dormant_modules_are_made_when_asked_for() {
    use super::compression::{ResponseCompression, ResponseCompressionBuilder};
    let mut set = HttpModules::new();
    set.add_module(ResponseCompressionBuilder::enable(0));
    set.add_module(Box::new(super::grpc_web::GrpcWeb));
    let mut ctx = set.build_ctx();
    assert!(ctx.is_empty());
    assert!(ctx.get::<Tag>().is_none());
    assert!(ctx.is_empty());
    assert!(!ctx.get::<ResponseCompression>().unwrap().is_enabled());
    ctx.get_mut::<ResponseCompression>()
        .unwrap()
        .adjust_level(1);
    assert!(!ctx.is_empty());
    let mut req = RequestHeader::build("GET", b"/", None).unwrap();
    req.insert_header("accept-encoding", "gzip").unwrap();
    ctx.request_header_filter(&mut req).await.unwrap();
    let mut resp = ResponseHeader::build(200, None).unwrap();
    resp.insert_header("content-type", "text/css").unwrap();
    ctx.response_header_filter(&mut resp, false).await.unwrap();
    assert_eq!(resp.headers["content-encoding"], "gzip");
    let mut body = Some(Bytes::from_static(b"a {}"));
    ctx.response_body_filter(&mut body, false).unwrap();
    let rest = ctx.response_done_filter().unwrap().unwrap();
    assert!(body.unwrap().len() + rest.len() > 18);
    assert!(ctx.response_done_filter().unwrap().is_none());

    let mut set = HttpModules::new();
    set.add_module(ResponseCompressionBuilder::enable(0));
    set.add_module(Box::new(TagBuilder("a", 0)));
    assert!(!set.build_ctx().is_empty());
}
