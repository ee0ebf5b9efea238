//! Behaviour through the public doors only: sockets, processes, files. One claim per test.

mod cli;
mod health;
mod host;
mod live;
mod ops;
mod process;
mod rig;
mod state;
mod swap;
mod watch;
