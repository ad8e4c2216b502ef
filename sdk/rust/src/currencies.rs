//! ISO 4217, as published on 2026-01-01. The one table of it: Larder itself compiles this file too.

/// What is known of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    pub code: &'static str,
    /// Decimals of its amounts.
    pub decimals: u32,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Current,
    /// Since when it is no money any more (a day or a month), and what people have instead.
    Withdrawn {
        on: &'static str,
        successor: &'static str,
    },
    /// A unit of account, which nobody is paid in.
    Fund,
}

/// When this table was last compared with what the standard's maintainers publish.
pub const AS_OF: &str = "2026-01-01";

/// By the decimals of their amounts.
const CURRENT: [(u32, &str); 3] = [
    (0, "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"),
    (
        2,
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY \
         COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF \
         IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR \
         MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG \
         SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES \
         WST XCD XCG YER ZAR ZMW ZWG",
    ),
    (3, "BHD IQD JOD KWD LYD OMR TND"),
];

/// Units of account.
const FUNDS: [(u32, &str); 3] = [(0, "UYI"), (2, "BOV CHE CHW COU MXV USN XAD"), (4, "CLF UYW")];

/// Since the euro: code, decimals, when, successor.
const WITHDRAWN: [(&str, u32, &str, &str); 53] = [
    ("ADP", 0, "2002-03", "EUR"),
    ("AFA", 2, "2003-01", "AFN"),
    ("ANG", 2, "2025-03-31", "XCG"),
    ("ATS", 2, "2002-03", "EUR"),
    ("AZM", 2, "2006-01", "AZN"),
    ("BEF", 0, "2002-03", "EUR"),
    ("BGL", 2, "1999-07", "EUR"),
    ("BGN", 2, "2026-01-01", "EUR"),
    ("BYB", 0, "2001-01", "BYN"),
    ("BYR", 0, "2016-07", "BYN"),
    ("CSD", 2, "2006-10", "RSD"),
    ("CUC", 2, "2021-01-01", "CUP"),
    ("CYP", 2, "2008-01-01", "EUR"),
    ("DEM", 2, "2002-03", "EUR"),
    ("ECS", 0, "2000-09", "USD"),
    ("EEK", 2, "2011-01-01", "EUR"),
    ("ESP", 0, "2002-03", "EUR"),
    ("FIM", 2, "2002-03", "EUR"),
    ("FRF", 2, "2002-03", "EUR"),
    ("GHC", 2, "2007-07", "GHS"),
    ("GRD", 0, "2002-03", "EUR"),
    ("HRK", 2, "2023-01-01", "EUR"),
    ("IEP", 2, "2002-03", "EUR"),
    ("ITL", 0, "2002-03", "EUR"),
    ("LTL", 2, "2015-01-01", "EUR"),
    ("LUF", 0, "2002-03", "EUR"),
    ("LVL", 2, "2014-01-01", "EUR"),
    ("MGF", 0, "2005-01", "MGA"),
    ("MRO", 2, "2018-01", "MRU"),
    ("MTL", 2, "2008-01-01", "EUR"),
    ("MZM", 2, "2006-07", "MZN"),
    ("NLG", 2, "2002-03", "EUR"),
    ("PTE", 0, "2002-03", "EUR"),
    ("ROL", 0, "2005-07", "RON"),
    ("RUR", 2, "2004-01", "RUB"),
    ("SDD", 2, "2007-07", "SDG"),
    ("SIT", 2, "2007-01-01", "EUR"),
    ("SKK", 2, "2009-01-01", "EUR"),
    ("SLL", 2, "2024-01", "SLE"),
    ("SRG", 2, "2004-01", "SRD"),
    ("STD", 2, "2018-01", "STN"),
    ("TMM", 2, "2009-01", "TMT"),
    ("TPE", 0, "2002-05", "USD"),
    ("TRL", 0, "2005-01", "TRY"),
    ("VEB", 2, "2008-01", "VES"),
    ("VEF", 2, "2018-08-20", "VES"),
    ("XEU", 0, "1999-01-01", "EUR"),
    ("YUM", 2, "2003-07", "RSD"),
    ("ZMK", 2, "2013-01", "ZMW"),
    ("ZRN", 2, "1999-06", "CDF"),
    ("ZWD", 2, "2009-04", "ZWG"),
    ("ZWL", 2, "2024-09-01", "ZWG"),
    ("ZWR", 2, "2009-06", "ZWG"),
];

/// Every code that there is or was, `Current` ones first.
pub fn all() -> impl Iterator<Item = Fact> {
    let group = |(decimals, codes): (u32, &'static str), standing| {
        codes.split(' ').map(move |code| Fact { code, decimals, standing })
    };
    let current = CURRENT.into_iter().flat_map(move |codes| group(codes, Standing::Current));
    let funds = FUNDS.into_iter().flat_map(move |codes| group(codes, Standing::Fund));
    let withdrawn = WITHDRAWN.into_iter().map(|(code, decimals, on, successor)| Fact {
        code,
        decimals,
        standing: Standing::Withdrawn { on, successor },
    });
    current.chain(funds).chain(withdrawn)
}

pub fn find(code: &str) -> Option<Fact> {
    all().find(|fact| fact.code == code)
}

/// A code in which amounts may be: `Err` says why it is none.
pub fn current(code: &str) -> Result<Fact, String> {
    match find(code) {
        Some(fact) if fact.standing == Standing::Current => Ok(fact),
        Some(Fact { standing: Standing::Withdrawn { on, successor }, .. }) => {
            Err(format!("{code:?} is no currency any more: it was withdrawn ({on}), use {successor}"))
        }
        Some(_) => Err(format!("{code:?} is a unit of account, not a currency")),
        None => Err(format!("{code:?} is not a currency (ISO 4217, three capital letters)")),
    }
}
