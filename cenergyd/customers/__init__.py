"""Customers: who owns a logger, which meter plays which role, and what work is pending."""
