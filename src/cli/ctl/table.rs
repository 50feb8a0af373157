//! A table of sessions that fits the terminal. Main function: [`sessions`].

use super::shown::{age, bytes, number, rate, text};
use crate::cli::plain;
use serde_json::Value;

/// How much room there is; `None` for as much as is needed.
#[derive(Clone, Copy)]
pub(super) struct Screen {
    pub width: Option<usize>,
    pub height: Option<usize>,
}

/// A column; those that are worth least go first where there is no room.
struct Column {
    title: &'static str,
    worth: u8,
    is_number: bool,
    cell: fn(&Value) -> String,
}

const COLUMNS: [Column; 9] = [
    Column {
        title: "ID",
        worth: 9,
        is_number: false,
        cell: |s| text(s, "id"),
    },
    Column {
        title: "USER",
        worth: 8,
        is_number: false,
        cell: |s| text(s, "user"),
    },
    Column {
        title: "CLIENT",
        worth: 7,
        is_number: false,
        cell: |s| text(s, "client"),
    },
    Column {
        title: "VIA",
        worth: 3,
        is_number: false,
        cell: |s| text(s, "transport"),
    },
    Column {
        title: "RELAYED",
        worth: 1,
        is_number: false,
        cell: |s| {
            let relayed = s.get("relayed").and_then(Value::as_array);
            let relayed = relayed.into_iter().flatten().filter_map(Value::as_str);
            relayed.collect::<Vec<_>>().join(",")
        },
    },
    Column {
        title: "AGE",
        worth: 4,
        is_number: true,
        cell: |s| age(number(s, "age_seconds")),
    },
    Column {
        title: "TO PEERS",
        worth: 6,
        is_number: true,
        cell: |s| rate(number(&s["to_peers"], "bytes_per_second")),
    },
    Column {
        title: "TO CLIENT",
        worth: 5,
        is_number: true,
        cell: |s| rate(number(&s["to_client"], "bytes_per_second")),
    },
    Column {
        title: "BYTES",
        worth: 2,
        is_number: true,
        cell: |s| {
            let ways = [&s["to_peers"], &s["to_client"]];
            bytes(ways.iter().map(|way| number(way, "bytes")).sum())
        },
    },
];

/// The column that is cut first.
const USER: &str = "USER";

/// Of which so much stays.
const LEAST_USER: usize = 8;

/// The sessions of an answer.
pub(super) fn sessions(answer: &Value, screen: Screen) -> String {
    let found = answer.get("sessions").and_then(Value::as_array);
    let found = found.map(Vec::as_slice).unwrap_or_default();
    let cells: Vec<Vec<String>> = found
        .iter()
        .map(|session| {
            let cells = COLUMNS.iter();
            cells.map(|column| plain(&(column.cell)(session))).collect()
        })
        .collect();
    let width = |place: usize| {
        let widest = cells.iter().filter_map(|row| row.get(place));
        let widest = widest.map(|cell| cell.chars().count()).max();
        let title = COLUMNS.get(place).map_or(0, |column| column.title.len());
        widest.unwrap_or(0).max(title)
    };
    let mut columns: Vec<(usize, &Column, usize)> = COLUMNS
        .iter()
        .enumerate()
        .map(|(place, column)| (place, column, width(place)))
        .collect();
    if let Some(room) = screen.width {
        fit(&mut columns, room);
    }
    let line = |cell: &dyn Fn(usize, &Column) -> String| {
        let mut line = String::new();
        for (place, column, width) in &columns {
            let cell = cut(&cell(*place, column), *width, column.title == USER);
            let padded = match column.is_number {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
            line.push_str(&padded);
        }
        format!("{}\n", line.trim_end())
    };
    let mut table = line(&|_, column| column.title.to_owned());
    for row in &cells {
        table.push_str(&line(&|place, _| {
            row.get(place).cloned().unwrap_or_default()
        }));
    }
    let total = number(answer, "total") as usize;
    if total > found.len() {
        table.push_str(&format!("and {} more\n", total - found.len()));
    } else if total == 0 {
        table.push_str("no sessions\n");
    }
    table
}

/// Cuts user names, then leaves out columns, until the rest fits.
fn fit(columns: &mut Vec<(usize, &Column, usize)>, room: usize) {
    loop {
        let all: usize = columns.iter().map(|(_, _, width)| width + 2).sum();
        let excess = all.saturating_sub(2).saturating_sub(room);
        if excess == 0 {
            return;
        }
        let user = columns.iter_mut().find(|(_, c, _)| c.title == USER);
        if let Some((_, _, width)) = user
            && *width > LEAST_USER
        {
            *width = width.saturating_sub(excess).max(LEAST_USER);
            continue;
        }
        let least = columns.iter().map(|(_, column, _)| column.worth).min();
        if columns.len() <= 2 {
            return;
        }
        columns.retain(|(_, column, _)| Some(column.worth) != least);
    }
}

/// Of an ephemeral `expiry:user` the end is what tells.
fn cut(text: &str, width: usize, keeps_end: bool) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    if keeps_end {
        let kept: String = text.chars().skip(length - width.max(1) + 1).collect();
        return format!("…{kept}");
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}
