"""YAML with lines, checked by sections: what every configuration file is read with."""
