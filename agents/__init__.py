"""The edge: the only code that imports Faust, and all of it that touches the privates of Faust and aiokafka's consumer."""
