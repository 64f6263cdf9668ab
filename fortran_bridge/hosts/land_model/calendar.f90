! SPDX-License-Identifier: Apache-2.0
!> Dates of the 360-day calendar of the driving simulation: twelve months of thirty days.
module calendar
   use constants, only: days_per_year
   implicit none
   private
   public :: day_of_year, date_of

   integer, parameter :: days_per_month = 30

contains

   elemental integer function day_of_year(day)
      !! Day of the year (1 to 360) of day `day` of the run (from 1).
      integer, intent(in) :: day

      day_of_year = modulo(day - 1, days_per_year) + 1
   end function day_of_year

   pure function date_of(start_year, day) result(date)
      !! ISO date of day `day` of a run that starts on 1 January of `start_year`.
      integer, intent(in) :: start_year
      integer, intent(in) :: day
      character(len=10) :: date
      integer :: in_year

      in_year = day_of_year(day) - 1
      write (date, '(i4.4, 2("-", i2.2))') start_year + (day - 1)/days_per_year, in_year/days_per_month + 1, &
         mod(in_year, days_per_month) + 1
   end function date_of
end module calendar
