//! What is stored comes back, what is damaged is an error, and what was stored stays readable.

mod damage;
mod golden;
mod round_trip;
