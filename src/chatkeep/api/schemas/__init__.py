"""What goes over the wire: strict models of requests, and models of answers for the description of the API."""
