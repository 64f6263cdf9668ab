! SPDX-License-Identifier: Apache-2.0
!> What the small hosts of these tests share: the coupling file is the first argument of the command line, and results
!! are lines `name=value` on standard output, which pytest reads.
module testing
   use, intrinsic :: iso_c_binding, only: c_double
   use coupler_plugin, only: coupler_t
   implicit none
   private
   public :: argument, new_coupler, report, report_error

   interface report
      procedure :: report_integer, report_logical, report_text
   end interface report

contains

   !> One argument of the command line, empty where there is none.
   function argument(number)
      integer, intent(in) :: number
      character(len=:), allocatable :: argument
      integer :: length

      call get_command_argument(number, length=length)
      allocate (character(len=length) :: argument)
      call get_command_argument(number, argument)
   end function argument

   !> A coupler of hourly steps from the first argument of the command line.
   subroutine new_coupler(coupler)
      type(coupler_t), intent(inout) :: coupler

      call coupler%init(argument(1), start='2001-01-01', dt=3600.0_c_double)
   end subroutine new_coupler

   subroutine report_integer(name, value)
      character(len=*), intent(in) :: name
      integer, intent(in) :: value

      print '(2a,i0)', name, '=', value
   end subroutine report_integer

   subroutine report_logical(name, value)
      character(len=*), intent(in) :: name
      logical, intent(in) :: value

      print '(2a,l1)', name, '=', value
   end subroutine report_logical

   subroutine report_text(name, value)
      character(len=*), intent(in) :: name, value

      print '(3a)', name, '=', value
   end subroutine report_text

   !> A status and its message.
   subroutine report_error(name, coupler, rc)
      character(len=*), intent(in) :: name
      type(coupler_t), intent(in) :: coupler
      integer, intent(in) :: rc
      character(len=:), allocatable :: message

      call coupler%get_message(message)
      call report(name, rc)
      call report(name//'_message', message)
   end subroutine report_error

end module testing
