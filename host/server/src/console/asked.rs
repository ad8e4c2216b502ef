//! What the address of a list asks for: its filters, and where its page begins.

use form_urlencoded::Serializer;
use larder_store::listing::Listing;

use crate::api::queries::pairs;
use crate::console::visitor::Visitor;

/// Rows of a page.
pub const ROWS: u32 = 50;
pub const AFTER: &str = "after";

pub struct Asked {
    path: String,
    pairs: Vec<(String, String)>,
}

/// Where other pages of a list are.
pub struct Pager {
    pub first: Option<String>,
    pub older: Option<String>,
}

impl Asked {
    pub fn of(visitor: &Visitor) -> Asked {
        let (path, query) = visitor.target.split_once('?').unwrap_or((&visitor.target, ""));
        Asked { path: path.into(), pairs: pairs(query).collect() }
    }

    /// A filter; empty if it does not filter.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim())
    }

    /// The rows of this page, the newest first, and one more.
    pub fn listing(&self) -> Listing {
        let after = Some(self.get(AFTER)).filter(|after| !after.is_empty());
        Listing { cursor: after.map(|id| (id.to_owned(), false)), ..Listing::newest(ROWS + 1) }
    }

    /// The same, where a filter must equal a column.
    pub fn filtered(&self, filters: &[(&str, &'static str)]) -> Listing {
        let given = filters.iter().filter(|(name, _)| !self.get(name).is_empty());
        given.fold(self.listing(), |listing, (name, column)| listing.equal(column, self.get(name)))
    }

    /// Takes the one row more away and says where it is.
    pub fn pager<T>(&self, rows: &mut Vec<T>, id: impl Fn(&T) -> &str) -> Pager {
        let more = rows.len() > ROWS as usize;
        rows.truncate(ROWS as usize);
        let older = rows.last().filter(|_| more).map(|last| self.address(Some(id(last))));
        Pager { first: (!self.get(AFTER).is_empty()).then(|| self.address(None)), older }
    }

    /// The address of the first page.
    pub fn start(&self) -> String {
        self.address(None)
    }

    fn address(&self, after: Option<&str>) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(
            self.pairs.iter().filter(|(name, value)| name != AFTER && name != "done" && !value.is_empty()),
        );
        query.extend_pairs(after.map(|after| (AFTER, after)));
        let query = query.finish();
        if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_keep_their_filters() {
        let asked = |query: &str| Asked { path: "/depo/x".into(), pairs: pairs(query).collect() };
        let mut rows: Vec<String> = (0..51).map(|number| number.to_string()).collect();
        let pager = asked("status=a%26b&after=9&empty=").pager(&mut rows, |row| row);
        assert_eq!((rows.len(), pager.first.as_deref()), (50, Some("/depo/x?status=a%26b")));
        assert_eq!(pager.older.as_deref(), Some("/depo/x?status=a%26b&after=49"));
        let last = asked("").pager(&mut rows, |row| row);
        assert!(last.first.is_none() && last.older.is_none());
    }
}
