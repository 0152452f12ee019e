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
    let mut ctx = modules(&[("b", 1), ("a", 0), ("c", 1), ("first", -5)]);
    let mut req = RequestHeader::build("GET", b"/", None).unwrap();
    ctx.request_header_filter(&mut req).await.unwrap();
    let tags: Vec<_> = req.headers.get_all("x-tag").iter().collect();
    assert_eq!(tags, ["first", "a", "b", "c"]);
}

#[test]
fn bytes_at_the_end_pass_through_the_modules_behind() {
    let mut ctx = modules(&[("a", 0), ("b", 1)]);
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
