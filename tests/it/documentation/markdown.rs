//! The pages of the repository and the samples in them.

use std::path::Path;

use larder_tests::workspace;

/// Folders that are not ours, or are made by a build.
const SKIPPED: [&str; 3] = ["target", "node_modules", "larder-data"];

pub struct Page {
    /// Below the workspace: `docs/grants.md`.
    pub name: String,
    pub text: String,
}

/// A fenced block: what stands behind its three backticks, and its text.
pub struct Fence {
    pub page: String,
    pub line: usize,
    pub info: String,
    pub text: String,
}

impl Fence {
    pub fn language(&self) -> &str {
        self.info.split(' ').next().unwrap_or_default()
    }

    /// What follows the language: a file or an endpoint.
    pub fn target(&self) -> &str {
        self.info.split_once(' ').map_or("", |(_, target)| target)
    }

    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }
}

/// Every Markdown file and every template of one, sorted by name. The history may name what is gone, so it is left out.
pub fn pages() -> Vec<Page> {
    let mut pages = vec![];
    collect(workspace(), &mut pages);
    pages.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(pages.len() > 25, "{} pages", pages.len());
    pages
}

fn collect(folder: &Path, into: &mut Vec<Page>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !SKIPPED.contains(&&*name) {
                collect(&path, into);
            }
        } else if name == "CHANGELOG.md" {
            continue;
        } else if name.ends_with(".md") || name.ends_with(".md.tmpl") {
            let below = path.strip_prefix(workspace()).expect("a file of the workspace");
            let text = std::fs::read_to_string(&path).expect("a page").replace("{{name}}", "x");
            into.push(Page { name: below.to_string_lossy().into_owned(), text });
        }
    }
}

pub fn fences() -> Vec<Fence> {
    pages().iter().flat_map(Page::fences).collect()
}

impl Page {
    pub fn fences(&self) -> Vec<Fence> {
        let (mut found, mut open) = (vec![], None::<Fence>);
        for (at, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), open.as_mut()) {
                (Some(_), Some(_)) => found.extend(open.take()),
                (Some(info), None) => {
                    open =
                        Some(Fence { page: self.name.clone(), line: at + 1, info: info.into(), text: String::new() });
                }
                (None, Some(fence)) => fence.text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.name);
        found
    }

    /// The text without its fences.
    pub fn prose(&self) -> String {
        let parts = self.text.split("```");
        parts.step_by(2).collect()
    }

    /// What stands between single backticks, on one line each.
    pub fn spans(&self) -> Vec<String> {
        self.prose()
            .split('`')
            .skip(1)
            .step_by(2)
            .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// Lines of blocks that are indented instead of fenced, which no check would see.
    pub fn indented(&self) -> Vec<String> {
        let prose = self.prose();
        let lines = prose.lines().zip(prose.lines().skip(1));
        lines
            .filter(|(before, line)| before.is_empty() && line.starts_with("    "))
            .map(|(_, line)| line.into())
            .collect()
    }
}
