use crate::support::*;
#[test]
fn scratch() {
    let text = include_str!("../data/good/everything.yaml");
    let d = diagnose(text);
    println!("{}", moa_spec::render(&d, &[source(text)], false));
    match moa_spec::format(&source(text)) {
        Ok(t) => println!("{t}"),
        Err(e) => println!("{e:?}"),
    }
    for f in ["build-project", "build-short", "continuous-monitoring", "data-pipeline"] {
        let t = std::fs::read_to_string(format!("tests/data/seeds/{f}.yaml")).unwrap();
        match moa_spec::format(&source(&t)) {
            Ok(o) => {
                if o != t {
                    println!("{f} differs:\n{o}")
                }
            }
            Err(e) => println!("{e:?}"),
        }
    }
    if !moa_spec::has_errors(&d) {
        let p = plan(text);
        println!("{}", moa_spec::graph_mermaid(&p));
        println!(
            "{}",
            serde_json::to_string(&moa_spec::schema(moa_spec::SchemaKind::Settings)).unwrap()
        );
    }
}
