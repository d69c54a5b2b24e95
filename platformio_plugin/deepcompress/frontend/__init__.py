"""Model files to float graphs: one module per kind of file, listed in `open_graph.FRONTENDS`."""
