//! Behaviour through the public doors only: sockets, processes, files.

mod cli;
