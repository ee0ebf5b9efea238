//! What is generated from the command line, and that the documents are true.

use std::path::{Path, PathBuf};

use tests::binary;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_reference_is_what_the_program_says() {
    let path = docs().join("cli.md");
    let expected = server::cli::reference();
    if std::env::var_os("BASCULE_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).expect("docs/cli.md can be written");
    }
    let written = std::fs::read_to_string(&path).expect("docs/cli.md is there");
    assert!(written == expected, "docs/cli.md is stale: BASCULE_UPDATE_DOCS=1 cargo test -p tests cli");
}

#[test]
fn every_example_of_the_file_format_is_sound() {
    let text = std::fs::read_to_string(docs().join("bascule-yaml.md")).expect("docs/bascule-yaml.md is there");
    let examples: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 2, "{}", examples.len());
    for example in examples {
        let ended = binary::finish(binary::command(["check", "-"]), example);
        assert_eq!(ended.code, 0, "{example}\n{}", ended.stderr);
    }
}

/// The words of a line as a shell would take them, up to the first pipe, redirection or second command; quotes are the only
/// thing that examples need.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '|' | '>' | '<' | '&' | '\n') => break,
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_example_in_the_help_is_understood() {
    let reference = server::cli::reference();
    // What is set apart by several spaces is said about the example.
    let lines = reference.lines().filter_map(|line| line.strip_prefix("  bascule ")?.split("   ").next());
    let examples: Vec<Vec<String>> = lines.map(|line| words(&format!("bascule {line}"))).collect();
    assert!(examples.len() > 40, "{}", examples.len());
    for example in examples {
        let understood = server::cli::understands(&example);
        assert!(understood.is_ok(), "{example:?}: {understood:?}");
    }
}

#[test]
fn completions_know_every_verb() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = binary::run(["completions", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{shell}");
        assert!(ended.stdout.contains("decide") && ended.stdout.contains("environment"), "{shell}");
    }
}

#[test]
fn every_verb_has_a_manual_page() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ended = binary::run(["man".as_ref(), folder.path().join("man1").as_os_str()]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for page in ["bascule.1", "bascule-check.1", "bascule-decide.1", "bascule-override.1", "bascule-flag-set.1"] {
        let text = std::fs::read_to_string(folder.path().join("man1").join(page)).expect(page);
        assert!(text.contains(".SH NAME"), "{page}");
    }
}
